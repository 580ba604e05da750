/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs this process may use: the affinity mask, cut down by the CPU
 * quota of its cgroup (v2 or v1) and of every cgroup above it, rounded up.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "carrier/carrier.h"

static uint32_t affinity_cpus(void)
{
    cpu_set_t set;

    long online;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
    online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set has room for */
    return online > 0 ? (uint32_t)online : 1;
}

static bool read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok = f != NULL && fgets(line, (int)size, f) != NULL;

    if (f != NULL)
        fclose(f);
    return ok;
}

/* CPUs that quota microseconds out of every period are worth; 0: no limit. */
static uint32_t quota_cpus(long long quota, long long period)
{
    return quota > 0 && period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

static uint32_t quota_of_v2(const char *dir)
{
    char path[4200];
    char line[128];
    long long quota;
    long long period;

    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2)
        return 0;
    return quota_cpus(quota, period);
}

static uint32_t quota_of_v1(const char *dir)
{
    char path[4200];
    char line[128];
    long long quota = 0;
    long long period = 0;

    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", dir);
    if (read_line(path, line, sizeof line))
        sscanf(line, "%lld", &quota);
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", dir);
    if (read_line(path, line, sizeof line))
        sscanf(line, "%lld", &period);
    return quota_cpus(quota, period);
}

/* The smallest limit on the way from the cgroup at dir up to the root. */
static uint32_t smallest_quota(char *dir, uint32_t (*quota_of)(const char *dir))
{
    uint32_t smallest = 0;
    char *slash;

    for (;;) {
        uint32_t cpus = quota_of(dir);

        if (cpus > 0 && (smallest == 0 || cpus < smallest))
            smallest = cpus;
        slash = strrchr(dir, '/');
        if (slash == NULL)
            return smallest;
        *slash = '\0';
    }
}

static uint32_t cgroup_cpus(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];
    uint32_t smallest = 0;

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *controllers = strchr(line, ':');
        char *dir = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        uint32_t cpus;

        if (dir == NULL)
            continue;
        *dir++ = '\0';
        controllers++;
        dir[strcspn(dir, "\n")] = '\0';
        if (*controllers == '\0')
            cpus = smallest_quota(dir, quota_of_v2);
        else if (strstr(controllers, "cpu") != NULL && strstr(controllers, "cpuset") == NULL)
            cpus = smallest_quota(dir, quota_of_v1);
        else
            continue;
        if (cpus > 0 && (smallest == 0 || cpus < smallest))
            smallest = cpus;
    }
    if (f != NULL)
        fclose(f);
    return smallest;
}

uint32_t parallelism_available(void)
{
    uint32_t cpus = affinity_cpus();
    uint32_t quota = cgroup_cpus();

    if (quota > 0 && quota < cpus)
        cpus = quota;
    return cpus > 0 ? cpus : 1;
}
