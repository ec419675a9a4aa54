import cython

@cython.locals(best=str, name=str, best_score=cython.double, best_share=cython.double, score=cython.double,
               share=cython.double, operations=cython.double, weight=cython.double)
cpdef str pick(candidates, loads, str last)
