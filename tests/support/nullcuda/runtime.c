/* libcudart: two GPUs with an H100's properties, whose memory is the host's and whose kernels do nothing.
 *
 * Work is done when it is asked for, so streams and events are empty. What is not here and is asked for is a stub that
 * returns cudaSuccess, see build.py.
 */
#include "counts.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 13000
#define MEMORY (80ull << 30)

cudaError_t cudaGetDeviceCount(int *count) { return *count = GPUS, cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { return *device = nullcuda_gpu, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= GPUS) return cudaErrorInvalidDevice;
    nullcuda_gpu = device;
    nullcuda_use_primary();
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) { return *version = VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = VERSION, cudaSuccess; }
const char *cudaGetErrorName(cudaError_t error) { return error ? "cudaError" : "cudaSuccess"; }
const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : error ? "an error of the null CUDA" : "no error";
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *found, int device) {
    if (device < 0 || device >= GPUS) return cudaErrorInvalidDevice;
    memset(found, 0, sizeof *found);
    strcpy(found->name, "Null H100");
    found->major = 9;
    found->totalGlobalMem = MEMORY;
    found->sharedMemPerBlock = 48 << 10;
    found->sharedMemPerBlockOptin = 227 << 10;
    found->sharedMemPerMultiprocessor = 228 << 10;
    found->regsPerBlock = found->regsPerMultiprocessor = 65536;
    found->warpSize = 32;
    found->maxThreadsPerBlock = found->maxThreadsDim[0] = found->maxThreadsDim[1] = 1024;
    found->maxThreadsDim[2] = 64;
    found->maxGridSize[0] = 2147483647;
    found->maxGridSize[1] = found->maxGridSize[2] = 65535;
    found->multiProcessorCount = 132;
    found->maxThreadsPerMultiProcessor = 2048;
    found->l2CacheSize = 50 << 20;
    found->textureAlignment = 512;
    found->asyncEngineCount = 3;
    found->memoryPoolsSupported = found->concurrentKernels = found->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp of;
    cudaError_t error = cudaGetDeviceProperties(&of, device);
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = of.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = of.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = of.multiProcessorCount; break;
    case cudaDevAttrWarpSize: *value = of.warpSize; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = of.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)of.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)of.sharedMemPerBlockOptin; break;
    default: *value = 1;
    }
    return error;
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

atomic_bool nullcuda_gpu_is_full, nullcuda_host_is_full;

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    *available = nullcuda_gpu_is_full ? 0 : MEMORY;
    *total = MEMORY;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **memory, size_t size) {
    nullcuda_use_primary();
    *memory = size < MEMORY && !nullcuda_gpu_is_full ? nullcuda_allocate(size) : NULL;
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaMallocAsync(void **memory, size_t size, cudaStream_t stream) { return cudaMalloc(memory, size); }
cudaError_t cudaMallocFromPoolAsync(void **memory, size_t size, cudaMemPool_t pool, cudaStream_t stream) {
    return cudaMalloc(memory, size);
}
cudaError_t cudaFree(void *memory) { return nullcuda_free(memory), cudaSuccess; }
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) { return cudaFree(memory); }
cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned flags) {
    *memory = nullcuda_host_is_full ? NULL : aligned_alloc(64, (size + 63) / 64 * 64);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaMallocHost(void **memory, size_t size) { return cudaHostAlloc(memory, size, 0); }
cudaError_t cudaFreeHost(void *memory) { return free(memory), cudaSuccess; }
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *found, const void *memory) {
    *found = (struct cudaPointerAttributes){.type = cudaMemoryTypeDevice, .devicePointer = (void *)memory};
    return cudaSuccess;
}

static void count_copy(enum cudaMemcpyKind kind, size_t size) {
    if (kind == cudaMemcpyHostToDevice) COUNT_COPY(h2d, size);
    if (kind == cudaMemcpyDeviceToHost) COUNT_COPY(d2h, size);
    if (kind == cudaMemcpyDeviceToDevice) COUNT_COPY(d2d, size);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
    count_copy(kind, size);
    memcpy(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    COUNT(blocking_copies);
    return cudaMemcpyAsync(to, from, size, kind, 0);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t lines, enum cudaMemcpyKind kind, cudaStream_t stream) {
    count_copy(kind, width * lines);
    nullcuda_copy_lines(to, to_pitch, from, from_pitch, width, lines);
    return cudaSuccess;
}
cudaError_t cudaMemset(void *memory, int value, size_t size) { return memset(memory, value, size), cudaSuccess; }
cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream) {
    return cudaMemset(memory, value, size);
}

/* -- streams, events, graphs: handles to nothing ------------------------------------------------------------------ */

static cudaError_t handle(void *place) {
    *(void **)place = malloc(sizeof(void *)); /* few are made, and none is used after its end */
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return handle(stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return handle(stream); }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return COUNT(stream_syncs), cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void) { return COUNT(device_syncs), cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return COUNT(event_syncs), cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t *event) { return handle(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) { return handle(event); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) { return *ms = 1, cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) { return handle(graph); }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ready, cudaGraph_t graph, unsigned long long flags) {
    return handle(ready);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) { return COUNT(graph_launches), cudaSuccess; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const struct cudaMemPoolProps *wanted) { return handle(pool); }

/* -- kernels ------------------------------------------------------------------------------------------------------ */

static cudaError_t launched(void) {
    nullcuda_count_gpu();
    return COUNT(launches), cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                             cudaStream_t stream) {
    return launched();
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                               cudaStream_t stream) {
    return launched();
}
cudaError_t cudaLaunchCooperativeKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                                        cudaStream_t stream) {
    return launched();
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *kernel, void **arguments) {
    return launched();
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *found, const void *kernel) {
    *found = (struct cudaFuncAttributes){.maxThreadsPerBlock = 1024, .numRegs = 32};
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *kernel, int threads,
                                                                  size_t shared, unsigned flags) {
    return *blocks = 2, cudaSuccess;
}

/* What nvcc writes into a program to register its kernels and launch them. */
void **__cudaRegisterFatBinary(void *binary) {
    static void *handles[4];
    return handles;
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) { return 0; }
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = *block = (dim3){1, 1, 1};
    *shared = 0;
    *(void **)stream = NULL;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t *found, const void *kernel) {
    *found = (cudaKernel_t)kernel;
    return cudaSuccess;
}
