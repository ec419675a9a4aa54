import cython

cdef Py_ssize_t HEADER, _ID, _AFTER_ID, _BITMAP
cdef int CURSOR, QUERY

cpdef statement_id(bytes command)
cpdef int reply_kind(bytes command) except -1
cpdef bytes with_id(bytes command, number)
@cython.locals(flag=Py_ssize_t, parameters=Py_ssize_t)
cdef bytes _execute_on(statement, target, bytes command)
@cython.locals(types=bytes)
cdef _note_types(statement, target, bytes command, Py_ssize_t flag)
