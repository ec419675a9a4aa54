/* Load for a server or a proxy: logs in with mysql_native_password, then asks as fast as the answers come.
 *
 * client PORT MODE CONNECTIONS SECONDS STATEMENT
 *
 * MODE is text (COM_QUERY), binary (COM_STMT_EXECUTE with one integer), connect (connect, query, quit, again) or idle
 * (log in and wait for the end of stdin). Writes "go" when the measurement begins and one JSON object at its end;
 * errors end the process. One thread and epoll, except for connect: one thread for each connection. */
#define _GNU_SOURCE
#include "sha1.h"
#include "wire.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define USER "app"
#define PASSWORD "app"
#define DATABASE "sbtest"

enum { BUFFER = 256 * 1024, SUB = 64, BUCKETS = 64 * SUB };

enum phase { FIRST, COLUMNS, COLUMNS_END, ROWS };

struct connection {
    int fd;
    enum phase phase;
    uint8_t head[HEADER + 1]; /* a packet's header and its first byte */
    int have;                 /* bytes of it read */
    size_t skip;              /* bytes of the packet still to come */
    int columns, last;
    uint64_t sent;            /* ns */
};

static int port, count;
static double seconds;
static const char *statement;
static uint8_t command[1024];
static size_t command_size;
static uint8_t buffer[BUFFER];
static uint64_t began, deadline, asked, queries, bytes, histogram[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Log-linear: 64 buckets for each power of two, so within 1.6 %. */
static void count_latency(uint64_t ns)
{
    int shift = 0;
    while (ns >> shift >= 2 * SUB)
        shift++;
    histogram[shift * SUB + (ns >> shift)]++;
}

static double percentile(double share)
{
    uint64_t wanted = queries * share, seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            int shift = i < 2 * SUB ? 0 : i / SUB - 1;
            return (double)((uint64_t)(i - shift * SUB) << shift) / 1000;
        }
    }
    return 0;
}

/* -- blocking: connecting and logging in */

static void send_all(int fd, const void *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        die("send");
}

static size_t read_packet(int fd, uint8_t *packet, size_t room)
{
    if (recv(fd, packet, HEADER, MSG_WAITALL) != HEADER)
        die("the connection was closed");
    size_t length = packet_length(packet);
    if (length > room - HEADER || recv(fd, packet + HEADER, length, MSG_WAITALL) != (ssize_t)length)
        die("recv");
    if (packet[HEADER] == 0xFF) {
        fprintf(stderr, "refused: %.*s\n", (int)length - 9, packet + HEADER + 9);
        exit(1);
    }
    return length;
}

/* SHA1(password) XOR SHA1(scramble + SHA1(SHA1(password))) */
static void native(const uint8_t scramble[20], uint8_t answer[20])
{
    uint8_t both[40], stage1[20];
    sha1((const uint8_t *)PASSWORD, strlen(PASSWORD), stage1);
    memcpy(both, scramble, 20);
    sha1(stage1, 20, both + 20);
    sha1(both, 40, answer);
    for (int i = 0; i < 20; i++)
        answer[i] ^= stage1[i];
}

static void log_in(int fd)
{
    uint8_t packet[1024], scramble[20], payload[256], *p = payload;
    read_packet(fd, packet, sizeof packet);
    const uint8_t *after = packet + HEADER + 1 + strlen((char *)packet + HEADER + 1) + 1 + 4;
    memcpy(scramble, after, 8);
    memcpy(scramble + 8, after + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10, 12);
    uint32_t capabilities = CAPABILITIES | 0x8; /* CLIENT_CONNECT_WITH_DB */
    p = mempcpy(p, &capabilities, 4);
    p = mempcpy(p, "\x00\x00\x00\x01\x2d", 5);
    p = mempcpy(p, (uint8_t[23]){0}, 23);
    p = mempcpy(p, USER, sizeof USER);
    *p++ = 20;
    native(scramble, p);
    p = mempcpy(p + 20, DATABASE, sizeof DATABASE);
    p = mempcpy(p, "mysql_native_password", 22);
    uint8_t out[512];
    send_all(fd, out, put_packet(out, 1, payload, p - payload) - out);
    read_packet(fd, packet, sizeof packet);
    if (packet[HEADER] != 0)
        die("login: another method was asked for");
}

static int open_connection(void)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    log_in(fd);
    return fd;
}

/* -- following a reply */

static void on_packet(struct connection *c, size_t length, uint8_t first)
{
    if (first == 0xFF) {
        fprintf(stderr, "a statement failed\n");
        exit(1);
    }
    if (c->phase == FIRST) {
        c->columns = first;
        c->phase = COLUMNS;
        c->last = first == 0;
    } else if (c->phase == COLUMNS) {
        if (--c->columns == 0)
            c->phase = COLUMNS_END;
    } else if (c->phase == COLUMNS_END)
        c->phase = ROWS;
    else
        c->last = first == 0xFE && length < 9;
}

/* Take bytes of a reply; 1 when it is complete. */
static int feed(struct connection *c, const uint8_t *data, size_t size)
{
    while (size) {
        size_t step = c->skip < size ? c->skip : size;
        if (step == 0) {
            step = sizeof c->head - c->have < size ? sizeof c->head - c->have : size;
            memcpy(c->head + c->have, data, step);
            c->have += step;
            if (c->have == sizeof c->head) {
                c->have = 0;
                c->skip = packet_length(c->head) - 1;
                on_packet(c, c->skip + 1, c->head[HEADER]);
            }
        } else
            c->skip -= step;
        data += step;
        size -= step;
    }
    return c->last && c->skip == 0;
}

static void ask(struct connection *c)
{
    c->phase = FIRST;
    c->last = 0;
    c->sent = now();
    if (send(c->fd, command, command_size, MSG_NOSIGNAL) != (ssize_t)command_size)
        die("send");
}

static void build_command(int code)
{
    uint8_t payload[1000];
    payload[0] = code;
    memcpy(payload + 1, statement, strlen(statement));
    command_size = put_packet(command, 0, payload, 1 + strlen(statement)) - command;
}

/* COM_STMT_EXECUTE of statement `id` with one BIGINT; the types are sent every time, as libmysqlclient does not. */
static void build_execute(uint32_t id)
{
    uint8_t payload[32] = {COM_STMT_EXECUTE}, *p = payload + 1;
    p = mempcpy(p, &id, 4);
    p = mempcpy(p, "\x00\x01\x00\x00\x00\x00\x01\x08\x00", 9);
    p = mempcpy(p, "\x2a\x00\x00\x00\x00\x00\x00\x00", 8);
    command_size = put_packet(command, 0, payload, p - payload) - command;
}

static void prepare(int fd)
{
    uint8_t packet[1024];
    build_command(COM_STMT_PREPARE);
    send_all(fd, command, command_size);
    read_packet(fd, packet, sizeof packet);
    uint32_t id;
    memcpy(&id, packet + HEADER + 1, 4);
    for (int i = 0; i < 4; i++) /* parameter, EOF, column, EOF */
        read_packet(fd, packet + 16, sizeof packet - 16);
    build_execute(id);
}

/* -- the loops */

static void on_readable(struct connection *c, int measuring)
{
    ssize_t got = recv(c->fd, buffer, BUFFER, 0);
    if (got <= 0)
        die("the connection was closed");
    if (measuring)
        bytes += got;
    if (!feed(c, buffer, got))
        return;
    if (measuring) {
        queries++;
        count_latency(now() - c->sent);
    }
    asked++;
    ask(c);
}

static void run_until(int poller, uint64_t end, int measuring)
{
    struct epoll_event events[256];
    while (now() < end) {
        int ready = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < ready; i++)
            on_readable(events[i].data.ptr, measuring);
    }
}

static void announce(void)
{
    puts("go");
    fflush(stdout);
    began = now();
}

static void ask_all(int binary)
{
    int poller = epoll_create1(0);
    struct connection *all = calloc(count, sizeof *all);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].fd = open_connection();
        if (binary)
            prepare(all[i].fd);
        epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    if (!binary)
        build_command(COM_QUERY);
    for (int i = 0; i < count; i++)
        ask(&all[i]);
    asked = count;
    run_until(poller, now() + 200000000ull, 0);
    announce();
    run_until(poller, now() + seconds * 1e9, 1);
}

static void *connect_again_and_again(void *unused)
{
    while (now() < deadline) {
        struct connection c = {0};
        uint8_t reply[4096];
        uint64_t start = now();
        c.fd = open_connection();
        ask(&c);
        ssize_t got;
        do {
            got = recv(c.fd, reply, sizeof reply, 0);
            if (got <= 0)
                die("the connection was closed");
        } while (!feed(&c, reply, got));
        send_all(c.fd, "\x01\x00\x00\x00\x01", 5);
        close(c.fd);
        pthread_mutex_lock(&lock);
        queries++;
        bytes += got;
        count_latency(now() - start);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

static void connect_all(void)
{
    pthread_t threads[count];
    build_command(COM_QUERY);
    announce();
    deadline = now() + seconds * 1e9;
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, connect_again_and_again, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void idle_all(void)
{
    for (int i = 0; i < count; i++)
        open_connection();
    announce();
    getchar();
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: client PORT text|binary|connect|idle CONNECTIONS SECONDS STATEMENT\n");
        return 2;
    }
    port = atoi(argv[1]), count = atoi(argv[3]), seconds = atof(argv[4]), statement = argv[5];
    if (strcmp(argv[2], "idle") == 0)
        idle_all();
    else if (strcmp(argv[2], "connect") == 0)
        connect_all();
    else
        ask_all(strcmp(argv[2], "binary") == 0);
    printf("{\"queries\": %lu, \"bytes\": %lu, \"asked\": %lu, \"seconds\": %.6f, ", queries, bytes, asked,
           (now() - began) / 1e9);
    printf("\"p50\": %.1f, \"p95\": %.1f, \"p99\": %.1f}\n", percentile(0.50), percentile(0.95), percentile(0.99));
    return 0;
}
