import cython

from sqlproxy.routing.base cimport Load

@cython.locals(best=str, name=str, load=Load, limit=cython.double, room=cython.double, best_share=cython.double,
               share=cython.double, weight=cython.double)
cpdef str pick(candidates, loads, str last)
