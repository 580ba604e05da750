/* SPDX-License-Identifier: MIT */
/*
 * demo: shows an HTTP server under load and a million parked threads, or leaves the server up.
 */
#include "demo.h"

#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static const char usage[] = "usage: demo [--connections N] [--seconds S] [--threads N]\n"
                            "       demo --serve [--port N] [--reuse-port] [--no-deadlines]\n"
                            "\n"
                            "    --connections N   for the HTTP server's load (1000)\n"
                            "    --seconds S       how long that lasts (6)\n"
                            "    --threads N       how many to park (1000000)\n"
                            "    --serve           leave the server up, for curl, wrk or a browser\n"
                            "    --port N          where (8080; 0: any that is free)\n"
                            "    --reuse-port      others may serve there, too: the system shares the connections out\n"
                            "    --no-deadlines    wait for slow and silent clients for ever\n";

enum role { SHOW, SERVE, LOAD, PARK };

static bool parse_number(const char *text, long least, long most, long *ret)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end != '\0' || value < least || value > most)
        return false;
    *ret = value;
    return true;
}

static bool parse_options(int argc, char **argv, enum role *role, struct demo_options *options)
{
    static const struct option known[] = {
        {"serve", no_argument, NULL, 's'},
        {"load", no_argument, NULL, 'l'},
        {"park", no_argument, NULL, 'p'},
        {"port", required_argument, NULL, 'P'},
        {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 'S'},
        {"threads", required_argument, NULL, 't'},
        {"reuse-port", no_argument, NULL, 'r'},
        {"no-deadlines", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    long value = 0;
    bool ok = true;

    for (int c; ok && (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (c) {
        case 's':
            *role = SERVE;
            break;
        case 'l':
            *role = LOAD;
            break;
        case 'p':
            *role = PARK;
            break;
        case 'P':
            ok = parse_number(optarg, 0, 65535, &value);
            options->port = (int)value;
            break;
        case 'c':
            ok = parse_number(optarg, 1, 1000000, &value);
            options->connections = (int)value;
            break;
        case 'S':
            ok = parse_number(optarg, 1, 86400, &value);
            options->seconds = (int)value;
            break;
        case 't':
            ok = parse_number(optarg, 1, INT_MAX, &options->threads);
            break;
        case 'r':
            options->reuse_port = true;
            break;
        case 'n':
            options->no_deadlines = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            ok = false;
        }
    return ok && optind == argc;
}

int main(int argc, char **argv)
{
    struct demo_options options = {.port = 8080, .connections = 1000, .seconds = 6, .threads = 1000000};
    enum role role = SHOW;
    int status;

    if (!parse_options(argc, argv, &role, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    switch (role) {
    case SERVE:
        return demo_serve(&options);
    case LOAD:
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing goes on when the demo is interrupted */
        return demo_load(&options);
    case PARK:
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return demo_park_child(&options);
    default:
        status = demo_http(&options);
        return status != 0 ? status : demo_park(&options);
    }
}
