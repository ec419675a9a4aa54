import cython

cdef Py_ssize_t HEADER, _ID, _AFTER_ID, _BITMAP
cdef int CURSOR, QUERY

cdef class PreparedStatement:
    cdef public unsigned int number
    cdef public bytes payload
    cdef public unsigned long long mask
    cdef public int parameters
    cdef public int columns
    cdef public bytes types
    cdef public unsigned long long key
    cdef public list long_data
    cdef public Py_ssize_t long_data_size
    cdef public bint overflow
    cdef public str cursor
    cdef public bytes database
    cdef public object hint
    cdef public bytes definitions
    cdef public int version

    cpdef reset(self)

cdef class BackendStatement:
    cdef public unsigned int number
    cdef public bytes types
    cdef public bint attributed
    cdef public list definitions
    cdef public int version

cpdef bint names_statement(bytes command) except -1
@cython.locals(start=Py_ssize_t, low=cython.uint)
cpdef unsigned int statement_id(bytes command) except? 0xFFFFFFFF
cpdef int reply_kind(bytes command) except -1
cpdef bytes with_id(bytes command, unsigned int number)
cpdef bytes execute_on(PreparedStatement statement, BackendStatement target, bytes command, bytes block=*)
@cython.locals(flag=Py_ssize_t)
cdef bytes _execute_on(PreparedStatement statement, BackendStatement target, bytes command)
@cython.locals(types=bytes)
cdef _note_types(PreparedStatement statement, BackendStatement target, bytes command, Py_ssize_t flag)
