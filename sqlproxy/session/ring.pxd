from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SENDS = 64  # at most, in one call

# The kernel's interface as linux/io_uring.h declares it, which not every system has
cdef struct Entry:  # struct io_uring_sqe
    uint8_t opcode
    uint8_t flags
    uint16_t priority
    int32_t fd
    uint64_t offset
    uint64_t address
    uint32_t size
    uint32_t send_flags
    uint64_t tag
    uint64_t unused[3]

cdef struct Completion:  # struct io_uring_cqe
    uint64_t tag
    int32_t result
    uint32_t flags

cdef class Ring:
    cdef int _fd
    cdef char *_rings
    cdef size_t _rings_size
    cdef Entry *_entries
    cdef Completion *_completions
    cdef uint32_t *_head  # of what is asked, moved by the kernel
    cdef uint32_t *_tail
    cdef uint32_t *_done_head  # of what is done
    cdef uint32_t *_done_tail  # moved by the kernel
    cdef uint32_t _mask
    cdef uint32_t _done_mask
    cdef uint32_t _asked
    cdef int32_t results[SENDS]  # of each send: bytes taken, or minus an errno

    cdef int _map(self, void *parameters) except -1
    cdef void add(self, int fd, const char *data, uint32_t size) noexcept
    cdef void send(self) noexcept
    cdef uint32_t _collect(self) noexcept
