/* What the stub server and the load generator share: packets of the MySQL protocol, and how to give up. */
#ifndef WIRE_H
#define WIRE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 4,
    COM_QUIT = 0x01,
    COM_QUERY = 0x03,
    COM_CHANGE_USER = 0x11,
    COM_STMT_PREPARE = 0x16,
    COM_STMT_EXECUTE = 0x17
};

/* CLIENT_LONG_PASSWORD, _LONG_FLAG, _PROTOCOL_41, _TRANSACTIONS, _SECURE_CONNECTION, _MULTI_RESULTS, _PLUGIN_AUTH */
enum { CAPABILITIES = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x20000 | 0x80000 };

#define COLUMN_BYTES 119 /* of sbtest's column c, as sysbench fills it */

static inline void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline uint32_t packet_length(const uint8_t *header)
{
    return header[0] | header[1] << 8 | (uint32_t)header[2] << 16;
}

/* Append a packet to `out`; the position after it. */
static inline uint8_t *put_packet(uint8_t *out, uint8_t seq, const void *payload, size_t size)
{
    out[0] = size & 0xFF;
    out[1] = size >> 8 & 0xFF;
    out[2] = size >> 16 & 0xFF;
    out[3] = seq;
    memcpy(out + HEADER, payload, size);
    return out + HEADER + size;
}

#endif
