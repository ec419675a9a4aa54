from sqlproxy.session.prepared cimport PreparedStatement

cdef unsigned long long _NEW_TRANSACTION
cdef Py_ssize_t _OVERHEAD

cdef class Step:
    cdef readonly bytes command
    cdef readonly int kind
    cdef readonly unsigned long long mask
    cdef readonly bytes digest
    cdef readonly unsigned long long insert_id
    cdef readonly PreparedStatement statement
    cdef readonly bytes types
    cdef readonly tuple long_data
    cdef readonly bytes block

cdef class TransactionLog:
    cdef public Py_ssize_t max_size
    cdef public list steps
    cdef public Py_ssize_t size
    cdef public str reason
    cdef public bytes prelude
    cdef public long long position

    cpdef begin(self, long long position, bytes prelude)
    cpdef record(self, Step step)
    cpdef forbid(self, str reason)
    cpdef clear(self)

cpdef bint leaves(unsigned long long mask)
cpdef bint begins_anew(unsigned long long mask)
