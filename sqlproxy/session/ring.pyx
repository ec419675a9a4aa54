"""Sends to many sockets by one system call, through io_uring (io_uring_setup(2), io_uring_enter(2)).

A ring is used as a batch of calls and nothing more: no send waits for its peer (``MSG_DONTWAIT``), so all are done when
``Ring.send`` returns and no buffer is the kernel's any longer. The interface is declared here and not taken from
``linux/io_uring.h``, which is missing or old on many systems that could use it.
"""

import os
import socket

from libc.errno cimport EAGAIN, errno
from libc.string cimport memset

cdef extern from "sys/mman.h" nogil:
    enum:
        MAP_POPULATE
        MAP_SHARED
        PROT_READ
        PROT_WRITE
    void *MAP_FAILED
    void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t size)

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL

cdef extern from "unistd.h" nogil:
    int close(int fd)
    long syscall(long number, ...)

cdef enum:
    SETUP_CALL = 425  # the same on all that Linux runs on but Alpha
    ENTER_CALL = 426
    ENTER_GETEVENTS = 1
    OPCODE_SEND = 26
    SETUP_SUBMIT_ALL = 1 << 7  # go on after a send that fails
    SETUP_SINGLE_ISSUER = 1 << 12
    SETUP_DEFER_TASKRUN = 1 << 13  # Linux 6.1; no interruptions
    ENTRIES_OFFSET = 0x10000000
    HEAD = 0  # where struct io_sqring_offsets and struct io_cqring_offsets have what
    TAIL = 1
    MASK = 2
    COMPLETIONS = 5
    ARRAY = 6

cdef struct Parameters:  # struct io_uring_params
    uint32_t entries
    uint32_t completions
    uint32_t flags
    uint32_t thread[2]
    uint32_t features
    uint32_t unused[4]
    uint32_t asked[10]
    uint32_t done[10]


cdef class Ring:
    """What is asked of the kernel in one call. Raises OSError where it refuses, as in many containers, or is too old."""

    def __cinit__(self):
        self._fd = -1
        self._rings = NULL
        self._entries = NULL

    def __init__(self):
        cdef Parameters parameters
        memset(&parameters, 0, sizeof(parameters))
        parameters.flags = SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN
        self._fd = syscall(SETUP_CALL, SENDS, &parameters)  # closed on exec
        if self._fd < 0:
            raise OSError(errno, os.strerror(errno))
        self._map(&parameters)
        for index in range(SENDS):
            self._entries[index].opcode = OPCODE_SEND
            self._entries[index].send_flags = MSG_DONTWAIT | MSG_NOSIGNAL

    def __dealloc__(self):
        if self._entries != NULL:
            munmap(self._entries, SENDS * sizeof(Entry))
        if self._rings != NULL:
            munmap(self._rings, self._rings_size)
        if self._fd >= 0:
            close(self._fd)

    def check(self):
        """Send a byte. Raises OSError where a ring may be had and not be used."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.add(ours.fileno(), b"x", 1)
            self.send()
            if self.results[0] != 1:
                raise OSError(-self.results[0], os.strerror(-self.results[0]))

    cdef int _map(self, void *described) except -1:
        """Both rings are one area of memory (since Linux 5.4), the entries another."""
        cdef Parameters *parameters = <Parameters *>described
        cdef uint32_t *array
        cdef int index
        self._rings_size = max(
            parameters.asked[ARRAY] + parameters.entries * sizeof(uint32_t),
            parameters.done[COMPLETIONS] + parameters.completions * sizeof(Completion),
        )
        self._rings = <char *>_mapped(self._fd, self._rings_size, 0)
        self._entries = <Entry *>_mapped(self._fd, SENDS * sizeof(Entry), ENTRIES_OFFSET)
        self._head = <uint32_t *>(self._rings + parameters.asked[HEAD])
        self._tail = <uint32_t *>(self._rings + parameters.asked[TAIL])
        self._mask = (<uint32_t *>(self._rings + parameters.asked[MASK]))[0]
        self._done_head = <uint32_t *>(self._rings + parameters.done[HEAD])
        self._done_tail = <uint32_t *>(self._rings + parameters.done[TAIL])
        self._done_mask = (<uint32_t *>(self._rings + parameters.done[MASK]))[0]
        self._completions = <Completion *>(self._rings + parameters.done[COMPLETIONS])
        array = <uint32_t *>(self._rings + parameters.asked[ARRAY])
        for index in range(SENDS):
            array[index] = index
        return 0

    cdef void add(self, int fd, const char *data, uint32_t size) noexcept:
        """Another send, at most SENDS; ``results`` has them in this order."""
        cdef Entry *entry = &self._entries[(self._tail[0] + self._asked) & self._mask]
        entry.fd = fd
        entry.address = <uint64_t>data
        entry.size = size
        entry.tag = self._asked
        self.results[self._asked] = -EAGAIN
        self._asked += 1

    cdef void send(self) noexcept:
        """Send it all. What the kernel does not even begin, for want of memory say, is left at EAGAIN."""
        cdef uint32_t first = self._tail[0]
        cdef uint32_t begun, done
        self._tail[0] = first + self._asked
        syscall(ENTER_CALL, self._fd, self._asked, self._asked, ENTER_GETEVENTS, NULL, 0)
        begun = self._head[0] - first
        self._tail[0] = first + begun
        self._asked = 0
        done = self._collect()
        while done < begun:  # a signal came between; until then the buffers are the kernel's
            syscall(ENTER_CALL, self._fd, 0, begun - done, ENTER_GETEVENTS, NULL, 0)
            done += self._collect()

    cdef uint32_t _collect(self) noexcept:
        """Take the results there are; how many."""
        cdef uint32_t head = self._done_head[0]
        cdef uint32_t count = self._done_tail[0] - head
        cdef uint32_t index
        cdef Completion *completion
        for index in range(count):
            completion = &self._completions[(head + index) & self._done_mask]
            self.results[completion.tag] = completion.result
        self._done_head[0] = head + count
        return count


cdef void *_mapped(int fd, size_t size, long offset) except NULL:
    cdef void *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset)
    if found == MAP_FAILED:
        raise OSError(errno, os.strerror(errno))
    return found
