from sqlproxy.routing.balancer cimport pick_of

cdef unsigned long long LAST, LITERAL_ONLY, NEXT_TRX, READ, SESSION

cdef class ReadWriteSplit:
    cdef bint _primary_accepts_reads
    cdef object _snapshot
    cdef object _loads
    cdef tuple _candidates
    cdef frozenset _usable
    cdef frozenset _active
    cdef object _to_primary
    cdef object _to_nobody
    cdef dict _reads

    cpdef route(self, unsigned long long mask, context, snapshot, loads)
    cpdef str read_server(self, str last, snapshot, loads)
    cpdef bint may_read(self, str server, snapshot, loads) except -1
    cdef _bound(self, context)
    cdef _read(self, context)
    cdef _session_statement(self, context)
