/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL as it is: two hundred clients and their servers, each a virtual thread with blocking sockets, two carriers.
 *
 * OpenSSL keeps its queue of errors in a pthread key. One handshake fails, and its thread keeps the errors while all
 * others go about their business, and find none.  It tells the end of a connection from "nothing yet" by errno: one
 * client leaves without a word.
 */
#include "posix_test.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

enum { CLIENTS = 200, CONNECTIONS = CLIENTS + 2, ROUNDS = 3, MESSAGE = 5000 };

static SSL_CTX *server_context;
static SSL_CTX *client_context;
static struct sockaddr_in address;
static vthread_latch_t connected; /* the clients */
static vthread_latch_t rejected;  /* who speaks no TLS */
static vthread_latch_t go;
static vthread_t servers[CONNECTIONS];
static atomic_int served;
static atomic_int cut_short;

static void make_certificate(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    CHECK(key != NULL && x != NULL);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    CHECK(X509_sign(x, key, EVP_sha256()) > 0);
    CHECK_EQ(SSL_CTX_use_certificate(server_context, x), 1);
    CHECK_EQ(SSL_CTX_use_PrivateKey(server_context, key), 1);
    CHECK_EQ(X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context), x), 1);
    SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* ---- servers ---- */

/* Its errors are its own, whoever runs on the same carriers meanwhile. */
static void keep_errors(void)
{
    unsigned long error = ERR_peek_error();

    CHECK(error != 0);
    vthread_latch_count_down(&rejected);
    CHECK_EQ(vthread_latch_wait(&go), 0);
    CHECK_EQ(ERR_get_error(), error);
}

static void echo(SSL *ssl)
{
    char data[MESSAGE];
    int n;

    while ((n = SSL_read(ssl, data, sizeof data)) > 0)
        CHECK_EQ(SSL_write(ssl, data, n), n);
    if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN) {
        CHECK_EQ(ERR_peek_error(), 0);
        SSL_shutdown(ssl);
        atomic_fetch_add(&served, 1);
        return;
    }
    CHECK_EQ(SSL_get_error(ssl, n), SSL_ERROR_SSL);
    CHECK_EQ(ERR_GET_REASON(ERR_get_error()), SSL_R_UNEXPECTED_EOF_WHILE_READING);
    atomic_fetch_add(&cut_short, 1);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    SSL *ssl = SSL_new(server_context);

    CHECK_EQ(ERR_peek_error(), 0);
    CHECK_EQ(SSL_set_fd(ssl, fd), 1);
    if (SSL_accept(ssl) == 1)
        echo(ssl);
    else
        keep_errors();
    SSL_free(ssl);
    CHECK_EQ(close(fd), 0);
    return NULL;
}

static void *accept_all(void *arg)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        int fd = accept((int)(intptr_t)arg, NULL, NULL);

        CHECK(fd >= 0);
        servers[i] = spawn(serve, fd);
    }
    return NULL;
}

/* ---- clients ---- */

static int connect_plainly(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static SSL *connect_with_tls(int fd)
{
    SSL *ssl = SSL_new(client_context);

    CHECK_EQ(SSL_set_fd(ssl, fd), 1);
    CHECK_EQ(SSL_connect(ssl), 1);
    CHECK_EQ(SSL_get_verify_result(ssl), X509_V_OK);
    CHECK_EQ(ERR_peek_error(), 0);
    return ssl;
}

static void *speak_no_tls(void *arg)
{
    int fd = connect_plainly();

    CHECK_EQ(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    CHECK_EQ(vthread_latch_wait(&go), 0);
    CHECK_EQ(close(fd), 0);
    return arg;
}

static void *leave_without_a_word(void *arg)
{
    int fd = connect_plainly();
    SSL *ssl = connect_with_tls(fd);
    char rest[1000];

    vthread_latch_count_down(&connected);
    CHECK_EQ(vthread_latch_wait(&go), 0);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    while (read(fd, rest, sizeof rest) > 0) /* what is unread would make it a reset */
        ;
    CHECK_EQ(close(fd), 0);
    SSL_free(ssl);
    return arg;
}

static void converse(SSL *ssl, int me)
{
    char data[MESSAGE];
    char answer[MESSAGE];

    for (int round = 0; round < ROUNDS; round++) {
        int n = 0;

        memset(data, me * ROUNDS + round, sizeof data);
        CHECK_EQ(SSL_write(ssl, data, MESSAGE), MESSAGE);
        while (n < MESSAGE) {
            int more = SSL_read(ssl, answer + n, MESSAGE - n);

            CHECK(more > 0);
            n += more;
        }
        CHECK(memcmp(data, answer, MESSAGE) == 0);
        CHECK_EQ(ERR_peek_error(), 0);
    }
}

static void *be_client(void *arg)
{
    int fd = connect_plainly();
    SSL *ssl = connect_with_tls(fd);
    char byte;

    vthread_latch_count_down(&connected);
    CHECK_EQ(vthread_latch_wait(&go), 0);
    converse(ssl, (int)(intptr_t)arg);
    CHECK_EQ(SSL_shutdown(ssl), 0); /* said, not answered yet */
    CHECK_EQ(SSL_read(ssl, &byte, 1), 0);
    CHECK_EQ(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN);
    SSL_free(ssl);
    CHECK_EQ(close(fd), 0);
    return NULL;
}

static void test_clients_and_servers(void)
{
    int listener = plain_listener(&address);
    vthread_t clients[CONNECTIONS];
    vthread_t acceptor;

    CHECK_EQ(listen(listener, CONNECTIONS), 0); /* no connection has to be asked for twice */
    server_context = SSL_CTX_new(TLS_server_method());
    client_context = SSL_CTX_new(TLS_client_method());
    CHECK(server_context != NULL && client_context != NULL);
    make_certificate();
    atomic_store(&served, 0);
    atomic_store(&cut_short, 0);
    CHECK_EQ(vthread_latch_init(&connected, CLIENTS + 1), 0);
    CHECK_EQ(vthread_latch_init(&rejected, 1), 0);
    CHECK_EQ(vthread_latch_init(&go, 1), 0);
    acceptor = spawn(accept_all, listener);
    clients[0] = spawn(speak_no_tls, 0);
    CHECK_EQ(vthread_latch_wait(&rejected), 0);
    clients[1] = spawn(leave_without_a_word, 0);
    for (int i = 2; i < CONNECTIONS; i++)
        clients[i] = spawn(be_client, i);
    CHECK_EQ(vthread_latch_wait(&connected), 0);
    join(acceptor);
    for (int i = 0; i < CONNECTIONS; i++)
        await_parked(servers[i]); /* all at once, in SSL_read */
    vthread_latch_count_down(&go);
    for (int i = 0; i < CONNECTIONS; i++) {
        join(clients[i]);
        join(servers[i]);
    }
    CHECK_EQ(atomic_load(&served), CLIENTS);
    CHECK_EQ(atomic_load(&cut_short), 1);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    CHECK_EQ(close(listener), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"clients and servers", test_clients_and_servers, true},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    CHECK_EQ(OPENSSL_init_ssl(0, NULL), 1);
    return run_tests(tests);
}
