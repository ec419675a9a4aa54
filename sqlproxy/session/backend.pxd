from sqlproxy.session.ports cimport Receiver, Writer
from sqlproxy.session.stats cimport ServerStats
from sqlproxy.wire.response cimport ResponseTracker

# Attributes that are not declared here work too, but live in a dictionary: slower, and 100 bytes a session.
cdef class Backend(Receiver):
    cdef public str server
    cdef public ServerStats stats
    cdef public ResponseTracker tracker
    cdef public object owner
    cdef public object thread_id
    cdef public object capabilities
    cdef public bint secure
    cdef public str plugin
    cdef public bytes scramble
    cdef public long long applied
    cdef public long long synced
    cdef public tuple idle
    cdef public dict statements
    cdef public bint closed
    cdef public str reason
    cdef public bint filters
    cdef public bint only_state_change
    cdef public bint attributed
    cdef public bytes _kept
    cdef public object _prelude
    cdef public bint _starting
    cdef public object _transport
    cdef public Writer _direct
    cdef public list _collected
    cdef public bint _discards
    cdef public object _waiter
    cdef public object _packets
    cdef public bytes _login_buffer
    cdef dict __dict__

    cpdef send(self, bytes command, int kind)
    cpdef write(self, bytes data)
    cdef _write(self, bytes data)
    cpdef data_received(self, bytes chunk)
