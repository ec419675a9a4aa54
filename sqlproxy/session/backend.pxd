import cython

from sqlproxy.session.ports cimport Receiver, Writer
from sqlproxy.session.stats cimport ServerStats
from sqlproxy.wire.response cimport ResponseTracker

cdef class Backend  # defined below

cdef class Owner:
    cpdef on_reply(self, Backend backend, bytes chunk, bint done)

# Every attribute is declared: with a dictionary for others, each compiled call would first look for overridden methods.
cdef class Backend(Receiver):
    cdef public str server
    cdef public ServerStats stats
    cdef public ResponseTracker tracker
    cdef public Owner owner
    cdef public object thread_id
    cdef public object capabilities
    cdef public bint secure
    cdef public str plugin
    cdef public bytes scramble
    cdef public bint repeats_scramble
    cdef public long long applied
    cdef public long long synced
    cdef public bint deaf
    cdef public tuple idle
    cdef public dict statements
    cdef public bint closed
    cdef public bint unread
    cdef public str reason
    cdef public bint filters
    cdef public bint only_state_change
    cdef public bint attributed
    cdef public object fill
    cdef public bytes _kept
    cdef public object _prelude
    cdef public bint _starting
    cdef public object _transport
    cdef public Writer _direct
    cdef public list _collected
    cdef public bint _discards
    cdef public object _waiter
    cdef public object _packets
    cdef public object _on_packet
    cdef public bytes _login_buffer

    cpdef send(self, bytes command, int kind)
    cpdef write(self, bytes data)
    cdef _write(self, bytes data)
    @cython.locals(tracker=ResponseTracker, end=Py_ssize_t, extra=bytes, owner=Owner)
    cpdef data_received(self, bytes chunk)
