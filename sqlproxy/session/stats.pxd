from sqlproxy.routing.base cimport Load

from sqlproxy.session.histogram cimport Histogram

cdef class Durations(Load):
    cdef public Histogram read_times
    cdef public Histogram write_times
    cdef public Histogram connects

cdef class ServerStats(Durations):
    cdef public long long connections
    cdef public long long connections_total
    cdef public long long pooled
    cdef public long long reused
    cdef public long long connect_errors
    cdef public long long losses
    cdef public long long writes
    cdef public long long errors
    cdef public long long bytes_sent
    cdef public long long bytes_received

cdef class ServiceStats:
    cdef public long long statements
    cdef public long long unknown_statements
    cdef dict __dict__
