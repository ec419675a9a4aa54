import cython

cdef class Client  # defined below

from sqlproxy.session.ports cimport Receiver, Writer
from sqlproxy.session.session cimport Session
from sqlproxy.wire.framing cimport PacketReader

cdef Py_ssize_t _BACKLOG_HIGH

# Every attribute is declared: with a dictionary for others, each compiled call would first look for overridden methods.
cdef class Client(Receiver):
    cdef public object service
    cdef public str address
    cdef public str host
    cdef public object port
    cdef public bint secure
    cdef public bint tls
    cdef public object shown
    cdef public bint closing
    cdef public object capabilities
    cdef public bytes scramble
    cdef public str plugin
    cdef public Session session
    cdef public int _zstd_level
    cdef public int failed_changes
    cdef public object _seq
    cdef public object _transport
    cdef public Writer _direct
    cdef public PacketReader _reader
    cdef public object _arrived
    cdef public bytearray login_buffer
    cdef public bytearray _backlog
    cdef public bint _pumping
    cdef public set _paused
    cdef public bint _full

    @cython.locals(session=Session, command=bytes)
    cpdef data_received(self, bytes chunk)
    @cython.locals(session=Session, command=bytes)
    cpdef next_command(self)
    cdef bytes _next(self)
    cpdef write(self, bytes data)
