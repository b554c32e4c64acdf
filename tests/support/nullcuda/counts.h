/* What is counted, once: the Python side reads the names from the library. */
#include <stdatomic.h>
#include <stddef.h>

#define NULLCUDA_COUNTS(X)                                                    \
    X(plans)            /* cuDNN execution plans that were finalised */       \
    X(convolutions)     /* cuDNN plans that were executed */                  \
    X(launches)         /* kernels */                                         \
    X(graph_launches)   /* whole CUDA graphs */                               \
    X(device_syncs)                                                           \
    X(stream_syncs)                                                           \
    X(event_syncs)                                                            \
    X(blocking_copies)  /* of the copies below, those that wait for their end */ \
    X(h2d)                                                                    \
    X(h2d_bytes)                                                              \
    X(d2h)                                                                    \
    X(d2h_bytes)                                                              \
    X(d2d)                                                                    \
    X(d2d_bytes)                                                              \
    X(contexts)         /* each GPU's primary one, and those made beside it */ \
    X(first_gpu)        /* kernels, allocations and contexts of GPU 0 */      \
    X(allocations)      /* of device memory */                                \
    X(allocated_bytes)                                                        \
    X(frees)            /* each waits for all work of a GPU, as cudaFree does */ \
    X(decoders)         /* of NVDEC */                                        \
    X(decoded)          /* frames that NVDEC was given */                     \
    X(mapped)           /* frames that NVDEC lent out */                       \
    X(surfaces)         /* frames that FFmpeg took memory for, which it reuses */ \
    X(surfaces_freed)

extern atomic_bool nullcuda_gpu_is_full, nullcuda_host_is_full; /* as a scenario sets them: nothing can be allocated */

#define NULLCUDA_INDEX(name) COUNT_##name,
enum { NULLCUDA_COUNTS(NULLCUDA_INDEX) COUNTS };

extern atomic_llong nullcuda_counts[COUNTS];

#define COUNT(name) COUNT_N(name, 1)
#define COUNT_N(name, n) atomic_fetch_add(&nullcuda_counts[COUNT_##name], (long long)(n))
#define COUNT_COPY(kind, n) (COUNT(kind), COUNT_N(kind##_bytes, n))

/* The thread's current GPU, of two; its first use makes its primary context. */
#define GPUS 2
extern _Thread_local int nullcuda_gpu;
void nullcuda_use_primary(void);
void nullcuda_count_gpu(void);
/* Device memory is the host's: zeros, aligned as a GPU's. */
void *nullcuda_allocate(size_t size);
void nullcuda_free(void *memory);
/* Copy lines of a plane. */
void nullcuda_copy_lines(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t lines);
