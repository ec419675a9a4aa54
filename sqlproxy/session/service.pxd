from sqlproxy.routing.readwritesplit cimport ReadWriteSplit
from sqlproxy.session.ledger cimport Ledger
from sqlproxy.session.stats cimport ServiceStats

# Attributes that are not declared here work too, but live in a dictionary: slower.
cdef class Service:
    cdef public object config
    cdef public str name
    cdef public str router
    cdef public object servers
    cdef public dict server_stats
    cdef public ServiceStats stats
    cdef public Ledger ledger
    cdef public object accounts
    cdef public object throttle
    cdef public object registry
    cdef public object evidence
    cdef public object tls
    cdef public object rsa_key
    cdef public object snapshot
    cdef public double _stale_after
    cdef public object _publisher
    cdef public object _changed
    cdef public object _pauses
    cdef public frozenset leaving
    cdef public int waiting
    cdef public long long ticks
    cdef public dict suspects
    cdef public dict openings
    cdef public dict _openings
    cdef public dict pools
    cdef public object routing
    cdef public object rules
    cdef public bint read_only
    cdef public object answers
    cdef public object allow_list
    cdef public object tracing
    cdef public object mirrors
    cdef public ReadWriteSplit splitter
    cdef public object generations
    cdef public object _unsubscribe
    cdef dict __dict__
    cdef object __weakref__

    cpdef bint is_stale(self) except -1
