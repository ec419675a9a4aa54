/* A server that costs next to nothing: it lets everybody in and answers every SELECT with a canned row.
 *
 * server PORT...
 *
 * SELECT … LIMIT n answers n rows, SELECT of an init_connect none, SHOW the variable read_only=OFF, COM_STMT_EXECUTE one
 * binary row, all else OK. COM_CHANGE_USER is asked for a second packet, as MariaDB does.
 * Listens on loopback; one thread, epoll. CLIENT_DEPRECATE_EOF is not offered. */
#define _GNU_SOURCE
#include "wire.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, BATCH_ROWS = 8192, ROW_BYTES = HEADER + 1 + COLUMN_BYTES };

struct connection {
    int logged_in;
    size_t have;           /* bytes of an unfinished command in `in` */
    size_t rows_left;      /* of a long result under way */
    size_t sent;           /* bytes of the current batch already sent */
    uint8_t in[4096];
};

static struct connection *connections[MAX_FDS];
static int poller;

static uint8_t greeting[128], auth_switch[128], ok_reply[16], row_reply[512], binary_reply[512], show_reply[512], prepare_reply[512];
static uint8_t result_head[128], result_end[16], *batch;
static size_t greeting_size, auth_switch_size, ok_size, row_size, binary_size, show_size, prepare_size, head_size;

static const uint8_t OK[] = {0x00, 0, 0, 2, 0, 0, 0};
static const uint8_t EOF_PACKET[] = {0xFE, 0, 0, 2, 0};

/* A column definition: catalog, schema, table, org_table, name, org_name, then charset, length, type, flags. */
static uint8_t *put_definition(uint8_t *out, uint8_t seq, const char *name)
{
    uint8_t payload[128], *p = payload;
    const char *texts[] = {"def", "sbtest", "sbtest1", "sbtest1", name, name};
    for (int i = 0; i < 6; i++) {
        *p++ = strlen(texts[i]);
        p = mempcpy(p, texts[i], strlen(texts[i]));
    }
    p = mempcpy(p, "\x0c\x2d\x00\xe0\x01\x00\x00\xfe\x00\x00\x00\x00\x00", 13);
    return put_packet(out, seq, payload, p - payload);
}

static uint8_t *put_row(uint8_t *out, uint8_t seq)
{
    uint8_t payload[1 + COLUMN_BYTES];
    payload[0] = COLUMN_BYTES;
    memset(payload + 1, '4', COLUMN_BYTES);
    return put_packet(out, seq, payload, sizeof payload);
}

static void build_greeting(void)
{
    uint8_t payload[128], *p = payload;
    *p++ = 10;
    p = mempcpy(p, "10.11.0-MariaDB-stub", 21);
    p = mempcpy(p, "\x01\x00\x00\x00" "abcdefgh\x00", 13);
    p = mempcpy(p, (uint8_t[]){CAPABILITIES & 0xFF, CAPABILITIES >> 8 & 0xFF, 45, 2, 0}, 5);
    p = mempcpy(p, (uint8_t[]){CAPABILITIES >> 16 & 0xFF, CAPABILITIES >> 24 & 0xFF, 21}, 3);
    p = mempcpy(p, (uint8_t[10]){0}, 10);
    p = mempcpy(p, "ijklmnopqrst", 13);
    p = mempcpy(p, "mysql_native_password", 22);
    greeting_size = put_packet(greeting, 0, payload, p - payload) - greeting;

    p = mempcpy(payload, "\xFEmysql_native_password\x00" "abcdefghijklmnopqrst", 1 + 22 + 21);
    auth_switch_size = put_packet(auth_switch, 1, payload, p - payload) - auth_switch;
}

static void build_replies(void)
{
    uint8_t *p;
    ok_size = put_packet(ok_reply, 1, OK, sizeof OK) - ok_reply;
    put_packet(result_end, 0, EOF_PACKET, sizeof EOF_PACKET);

    p = put_packet(result_head, 1, "\x01", 1);
    p = put_definition(p, 2, "c");
    p = put_packet(p, 3, EOF_PACKET, sizeof EOF_PACKET);
    head_size = p - result_head;

    p = put_row(mempcpy(row_reply, result_head, head_size), 4);
    row_size = put_packet(p, 5, EOF_PACKET, sizeof EOF_PACKET) - row_reply;

    uint8_t binary[3 + COLUMN_BYTES] = {0, 0, COLUMN_BYTES};
    memset(binary + 3, '4', COLUMN_BYTES);
    p = put_packet(mempcpy(binary_reply, result_head, head_size), 4, binary, sizeof binary);
    binary_size = put_packet(p, 5, EOF_PACKET, sizeof EOF_PACKET) - binary_reply;

    p = put_packet(show_reply, 1, "\x02", 1);
    p = put_definition(put_definition(p, 2, "Variable_name"), 3, "Value");
    p = put_packet(p, 4, EOF_PACKET, sizeof EOF_PACKET);
    p = put_packet(p, 5, "\x09read_only\x03OFF", 14);
    show_size = put_packet(p, 6, EOF_PACKET, sizeof EOF_PACKET) - show_reply;

    /* statement 1: one column, one parameter */
    p = put_packet(prepare_reply, 1, "\x00\x01\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", 12);
    p = put_packet(put_definition(p, 2, "?"), 3, EOF_PACKET, sizeof EOF_PACKET);
    p = put_packet(put_definition(p, 4, "c"), 5, EOF_PACKET, sizeof EOF_PACKET);
    prepare_size = p - prepare_reply;

    batch = p = malloc((size_t)BATCH_ROWS * ROW_BYTES);
    for (int i = 0; i < BATCH_ROWS; i++)
        p = put_row(p, (4 + i) & 0xFF);
}

static void drop(int fd)
{
    close(fd);
    free(connections[fd]);
    connections[fd] = NULL;
}

static void watch(int fd, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0)
        die("epoll_ctl");
}

/* Small replies fit into an idle socket's buffer; a peer that takes none of it is given up. */
static void reply(int fd, const void *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        shutdown(fd, SHUT_RDWR);
}

/* Go on with a long result; every batch begins at the same sequence id because its rows are a multiple of 256. */
static void send_rows(int fd, struct connection *c)
{
    while (c->rows_left) {
        size_t rows = c->rows_left < BATCH_ROWS ? c->rows_left : BATCH_ROWS;
        ssize_t sent = send(fd, batch + c->sent, rows * ROW_BYTES - c->sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN)
                watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            else
                c->rows_left = 0;
            return;
        }
        c->sent += sent;
        if (c->sent == rows * ROW_BYTES) {
            result_end[3] = (4 + rows) & 0xFF;
            c->sent = 0;
            c->rows_left -= rows;
        }
    }
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    reply(fd, result_end, HEADER + sizeof EOF_PACKET);
}

static void query(int fd, struct connection *c, const char *text, size_t size)
{
    const char *limit = memmem(text, size, "LIMIT ", 6);
    if (size > 4 && memcmp(text, "SHOW", 4) == 0)
        reply(fd, show_reply, show_size);
    else if (memmem(text, size, "init_connect", 12)) {
        reply(fd, result_head, head_size);
        result_end[3] = 4;
        reply(fd, result_end, HEADER + sizeof EOF_PACKET);
    } else if (size < 6 || memcmp(text, "SELECT", 6) != 0)
        reply(fd, ok_reply, ok_size);
    else if (limit == NULL)
        reply(fd, row_reply, row_size);
    else {
        for (const char *p = limit + 6; p < text + size && *p >= '0' && *p <= '9'; p++)
            c->rows_left = c->rows_left * 10 + (*p - '0');
        reply(fd, result_head, head_size);
        send_rows(fd, c);
    }
}

/* Answer one command; 0 when the connection is at its end. */
static int answer(int fd, struct connection *c, const uint8_t *packet, size_t length)
{
    const uint8_t *payload = packet + HEADER;
    if (!c->logged_in) {
        c->logged_in = 1;
        ok_reply[3] = packet[3] + 1;
        reply(fd, ok_reply, ok_size);
        ok_reply[3] = 1;
    } else if (payload[0] == COM_QUIT)
        return 0;
    else if (payload[0] == COM_CHANGE_USER) {
        c->logged_in = 0;
        reply(fd, auth_switch, auth_switch_size);
    } else if (payload[0] == COM_QUERY)
        query(fd, c, (const char *)payload + 1, length - 1);
    else if (payload[0] == COM_STMT_EXECUTE)
        reply(fd, binary_reply, binary_size);
    else if (payload[0] == COM_STMT_PREPARE)
        reply(fd, prepare_reply, prepare_size);
    else
        reply(fd, ok_reply, ok_size);
    return 1;
}

static void on_readable(int fd, struct connection *c)
{
    ssize_t got = recv(fd, c->in + c->have, sizeof c->in - c->have, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    c->have += got;
    size_t pos = 0;
    while (c->have - pos >= HEADER) {
        size_t length = packet_length(c->in + pos);
        if (c->have - pos < HEADER + length)
            break;
        if (!answer(fd, c, c->in + pos, length)) {
            drop(fd);
            return;
        }
        pos += HEADER + length;
    }
    memmove(c->in, c->in + pos, c->have -= pos);
}

static void on_client(int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (fd >= MAX_FDS)
        die("too many connections");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections[fd] = calloc(1, sizeof *connections[fd]);
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    reply(fd, greeting, greeting_size);
}

static void listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        die("cannot listen");
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    signal(SIGPIPE, SIG_IGN);
    build_greeting();
    build_replies();
    poller = epoll_create1(0);
    for (int i = 1; i < argc; i++)
        listen_on(atoi(argv[i]));
    puts("ready");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            struct connection *c = connections[fd];
            if (c == NULL)
                on_client(fd);
            else if (events[i].events & EPOLLOUT)
                send_rows(fd, c);
            else
                on_readable(fd, c);
        }
    }
}
