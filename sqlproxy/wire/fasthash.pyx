"""A keyed hash of 128 bits that runs at the speed of memory, for comparing replies; not for keeping secrets.

Each 32 bytes are folded into two lanes by a 64 x 64 bit multiplication, as wyhash does
(https://github.com/wangyi-fudan/wyhash). The key is made anew for each process, so that nobody can prepare a collision.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    static inline unsigned long long sqlproxy_fold(unsigned long long a, unsigned long long b) {
        __uint128_t product = (__uint128_t)a * b;
        return (unsigned long long)product ^ (unsigned long long)(product >> 64);
    }
    """
    uint64_t sqlproxy_fold(uint64_t a, uint64_t b) nogil

cdef enum:
    BLOCK = 32

cdef uint64_t KEY[6]
cdef bytes _random = os.urandom(sizeof(KEY))
memcpy(KEY, PyBytes_AS_STRING(_random), sizeof(KEY))


cdef class FastHash:
    """``update`` with pieces, then ``digest``, as hashlib's objects; where the pieces are cut makes no difference."""

    cdef uint64_t _lanes[2]
    cdef unsigned char _rest[BLOCK]
    cdef Py_ssize_t _size

    def __cinit__(self):
        self._lanes[0] = KEY[4]
        self._lanes[1] = KEY[5]

    def update(self, bytes data):
        """Take in some bytes."""
        cdef const unsigned char *p = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t held = self._size % BLOCK
        cdef Py_ssize_t step
        self._size += left
        if held:
            step = min(BLOCK - held, left)
            memcpy(self._rest + held, p, step)
            if held + step < BLOCK:
                return
            self._absorb(self._rest)
            p += step
            left -= step
        while left >= BLOCK:
            self._absorb(p)
            p += BLOCK
            left -= BLOCK
        memcpy(self._rest, p, left)

    cdef void _absorb(self, const unsigned char *p) noexcept:
        cdef uint64_t words[4]
        memcpy(words, p, BLOCK)
        self._lanes[0] = sqlproxy_fold(self._lanes[0] ^ words[0] ^ KEY[0], words[1] ^ KEY[1])
        self._lanes[1] = sqlproxy_fold(self._lanes[1] ^ words[2] ^ KEY[2], words[3] ^ KEY[3])

    def digest(self):
        """The hash of everything so far, 16 bytes; the last call of all."""
        cdef Py_ssize_t held = self._size % BLOCK
        cdef uint64_t found[2]
        memset(self._rest + held, 0, BLOCK - held)
        self._absorb(self._rest)
        found[0] = sqlproxy_fold(self._lanes[0] ^ <uint64_t>self._size ^ KEY[2], self._lanes[1] ^ KEY[3])
        found[1] = sqlproxy_fold(self._lanes[1] ^ <uint64_t>self._size ^ KEY[0], self._lanes[0] ^ KEY[1])
        return PyBytes_FromStringAndSize(<char *>found, sizeof(found))
