cdef int LONGEST, SLOT_COUNT
cdef unsigned short SLOTS[8192]
cdef unsigned short OFFSETS[1024]
cdef bytes TEXTS

cdef Py_ssize_t hash_of(const unsigned char *s, Py_ssize_t start, Py_ssize_t length)
cpdef int lookup(const unsigned char *s, Py_ssize_t start, Py_ssize_t stop)
cdef bint _same(const unsigned char *s, Py_ssize_t start, Py_ssize_t length, Py_ssize_t offset)
