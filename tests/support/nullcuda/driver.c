/* libcuda as FFmpeg uses it. */
#include "counts.h"

#include <cuda.h>
#include <stdint.h>
#include <stdlib.h>

/* A context is the number of its GPU. */
static int primary[GPUS] = {0, 1};
static _Thread_local CUcontext stack[16]; /* what was pushed; below it is the primary context of cudaSetDevice's GPU */
static _Thread_local int before[16];      /* the GPU to come back to */
static _Thread_local int depth;

CUresult cuDriverGetVersion(int *version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { return *count = GPUS, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int number) {
    *device = number;
    return number < 0 || number >= GPUS ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: *value = 512; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    default: *value = 1;
    }
    return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult error, const char **text) { return *text = "CUDA_ERROR", CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char **text) { return *text = "of the null CUDA", CUDA_SUCCESS; }

/* -- contexts ---------------------------------------------------------------------------------------------------- */

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    if (depth == sizeof stack / sizeof *stack) return CUDA_ERROR_INVALID_CONTEXT;
    before[depth] = nullcuda_gpu;
    stack[depth++] = context;
    nullcuda_gpu = *(int *)context;
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    nullcuda_gpu = before[--depth];
    if (context) *context = stack[depth];
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *context) {
    if (!depth) nullcuda_use_primary();
    *context = depth ? stack[depth - 1] : (CUcontext)&primary[nullcuda_gpu];
    return CUDA_SUCCESS;
}
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device) {
    int *made = malloc(sizeof *made);
    *made = device;
    *context = (CUcontext)made;
    cuCtxPushCurrent_v2(*context);
    COUNT(contexts);
    nullcuda_count_gpu();
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *device) { return *device = nullcuda_gpu, CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    *context = (CUcontext)&primary[device];
    cuCtxPushCurrent_v2(*context);
    nullcuda_use_primary();
    return cuCtxPopCurrent_v2(NULL);
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

CUresult cuMemAlloc_v2(CUdeviceptr *memory, size_t size) {
    COUNT(surfaces);
    *memory = (CUdeviceptr)nullcuda_allocate(size);
    return *memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFree_v2(CUdeviceptr memory) {
    COUNT(surfaces_freed);
    nullcuda_free((void *)memory);
    return CUDA_SUCCESS;
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *how, CUstream stream) {
    int from_host = how->srcMemoryType == CU_MEMORYTYPE_HOST, to_host = how->dstMemoryType == CU_MEMORYTYPE_HOST;
    const char *from = from_host ? how->srcHost : (const char *)how->srcDevice;
    char *to = to_host ? how->dstHost : (char *)how->dstDevice;
    size_t size = how->WidthInBytes * how->Height;
    if (from_host) COUNT_COPY(h2d, size);
    if (to_host) COUNT_COPY(d2h, size);
    if (!from_host && !to_host) COUNT_COPY(d2d, size);
    nullcuda_copy_lines(to + how->dstY * how->dstPitch + how->dstXInBytes, how->dstPitch,
                        from + how->srcY * how->srcPitch + how->srcXInBytes, how->srcPitch, how->WidthInBytes,
                        how->Height);
    return CUDA_SUCCESS;
}
CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *how) {
    COUNT(blocking_copies);
    return cuMemcpy2DAsync_v2(how, 0);
}
CUresult cuStreamSynchronize(CUstream stream) { return COUNT(stream_syncs), CUDA_SUCCESS; }
CUresult cuCtxSynchronize(void) { return COUNT(device_syncs), CUDA_SUCCESS; }
