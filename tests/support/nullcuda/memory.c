/* The counts; the GPUs and their memory, for the runtime and the driver. */
#include "counts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 512

atomic_llong nullcuda_counts[COUNTS];

#define NULLCUDA_NAME(name) #name " "
const char *nullcuda_names(void) { return NULLCUDA_COUNTS(NULLCUDA_NAME); }

_Thread_local int nullcuda_gpu;

void nullcuda_count_gpu(void) {
    if (!nullcuda_gpu) COUNT(first_gpu);
}

void nullcuda_use_primary(void) {
    static atomic_flag used[GPUS];
    if (atomic_flag_test_and_set(&used[nullcuda_gpu])) return;
    COUNT(contexts);
    nullcuda_count_gpu();
}

void *nullcuda_allocate(size_t size) {
    char *whole = calloc(1, size + 2 * ALIGNMENT); /* large blocks are zeros that take no memory until they are used */
    if (!whole) return NULL;
    nullcuda_count_gpu();
    COUNT(allocations);
    COUNT_N(allocated_bytes, size);
    char *memory = (char *)(((uintptr_t)whole + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    ((void **)memory)[-1] = whole;
    return memory;
}

void nullcuda_free(void *memory) {
    if (!memory) return;
    COUNT(frees);
    free(((void **)memory)[-1]);
}

void nullcuda_copy_lines(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t lines) {
    for (size_t i = 0; i < lines; i++) memcpy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
}
