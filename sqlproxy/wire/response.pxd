import cython

from sqlproxy.wire.checksum cimport Checksum

cdef int _QUERY, _PREPARE, _ROWS_ONLY, _SINGLE, _TEXT, _CURSOR
cdef int _FIRST, _COLUMNS, _COLUMNS_EOF, _ROWS, _PARAMETERS, _PARAMETERS_EOF, _DONE, _UPLOAD
cdef int _MORE_RESULTS, _OUT_PARAMS, _CURSOR_EXISTS, _STATE_CHANGED, _PROGRESS
cdef Py_ssize_t _HEADER, _MAX, _HEAD, _OK_LENGTH, _PREPARED

cdef class ResponseTracker:
    cdef public bint done
    cdef public bint deprecate_eof
    cdef public bint optional
    cdef public bint described
    cdef public bint keeps
    cdef public list definitions
    cdef public int status
    cdef public int error
    cdef public int first
    cdef public Py_ssize_t rows
    cdef public long long affected
    cdef public unsigned int statement_id
    cdef public int columns
    cdef public int parameters
    cdef public bint upload
    cdef public Checksum checksum
    cdef public unsigned long long insert_id
    cdef public int counts
    cdef public unsigned long long begun
    cdef public bint tracking
    cdef public bint changed
    cdef public bint special
    cdef public list changes
    cdef public list marks
    cdef public Py_ssize_t carried
    cdef int _kind
    cdef int _state
    cdef int _left
    cdef Py_ssize_t _skip
    cdef bint _continued
    cdef bint _last
    cdef bint _out_params
    cdef bint _bare
    cdef bint _volatile
    cdef bytes _carry

    cpdef begin(self, int kind)
    cpdef resume_upload(self)
    @cython.locals(carried=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes chunk) except -2
    @cython.locals(size=Py_ssize_t, pos=Py_ssize_t, step=Py_ssize_t, length=Py_ssize_t, mark=Py_ssize_t)
    cdef Py_ssize_t _walk(self, bytes chunk) except -2
    cdef int _hash(self, bytes chunk, Py_ssize_t mark, Py_ssize_t end) except -1
    @cython.locals(affected=Py_ssize_t, inserted=Py_ssize_t)
    cdef object _leave_out(self, bytes chunk, Py_ssize_t mark, Py_ssize_t pos, Py_ssize_t length)
    @cython.locals(length=Py_ssize_t, start=Py_ssize_t)
    cdef Py_ssize_t _whole_rows(self, bytes chunk, Py_ssize_t pos, Py_ssize_t size) except -1
    cdef bint _is_plain(self, bytes chunk, Py_ssize_t pos) except -1
    @cython.locals(head=int)
    cdef bint _packet(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) except -1
    cdef bint _first_packet(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    cdef void _note_first(self, int head)
    @cython.locals(count=int, number=Py_ssize_t)
    cdef bint _column_count(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    cdef bint _definition(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    cdef void _after_definitions(self)
    cdef bint _definitions_end(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    cdef bint _row_or_end(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    @cython.locals(flagged=bint)
    cdef bint _prepared(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size, int head) except -1
    @cython.locals(code=int)
    cdef bint _err(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) except -1
    @cython.locals(needed=Py_ssize_t, pos=Py_ssize_t, inserted=Py_ssize_t, status=int)
    cdef bint _ok(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) except -1
    @cython.locals(status=int)
    cdef bint _eof(self, bytes chunk, Py_ssize_t start, Py_ssize_t length, Py_ssize_t size) except -1
    cdef void _end_of_result(self, int head, int status)
    cdef Py_ssize_t _after_lenenc(self, bytes chunk, Py_ssize_t pos, Py_ssize_t end) except -1
