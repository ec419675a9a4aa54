cimport cython
from sqlproxy.sql.statement cimport classify

cdef unsigned long long EXACT, VALUES
cdef Py_ssize_t SLOTS
cdef unsigned long long KEYS[2048]
cdef unsigned long long MASKS[2048]

@cython.locals(slot=Py_ssize_t, mask=cython.ulonglong)
cpdef unsigned long long classify_shape(bytes data, Py_ssize_t start, int mode, unsigned long long key) except? 0
