/* cuDNN's backend API, whose one engine takes every convolution, and cuBLAS; neither computes.
 *
 * Values are those of cudnn_graph.h of cuDNN 9, from which no header is needed otherwise.
 */
#include "counts.h"

#include <stdint.h>
#include <stdlib.h>

enum { OK = 0, NOT_INITIALIZED = 1 };
enum { ENGINE_HEURISTICS = 4, EXECUTION_PLAN = 5 }; /* cudnnBackendDescriptorType_t */
enum { TYPE_INT32 = 23 };                           /* cudnnBackendAttributeType_t */

size_t cudnnGetVersion(void) { return 91900; }
const char *cudnnGetErrorString(int status) { return "an error of the null cuDNN"; }
void cudnnGetLastErrorString(char *text, size_t size) {
    if (size) *text = 0;
}

/* A descriptor is its type, and nothing of what it was given. */
int cudnnBackendCreateDescriptor(int type, void **made) {
    *made = calloc(1, 64);
    *(int *)*made = type;
    return OK;
}
int cudnnBackendDestroyDescriptor(void *descriptor) { return free(descriptor), OK; }
int cudnnBackendSetAttribute(void) { return OK; }
int cudnnBackendFinalize(void *descriptor) {
    if (*(int *)descriptor == EXECUTION_PLAN) COUNT(plans);
    return OK;
}
int cudnnBackendExecute(void) { return COUNT(convolutions), OK; }

int cudnnBackendGetAttribute(void *descriptor, int name, int type, int64_t room, int64_t *count, void *values) {
    enum { HEURISTICS_RESULTS = 202, ENGINE_CONFIG = 300, PLAN_WORKSPACE = 402, PLAN_CONFIG = 401 };
    enum { CONFIG_SMALL = 303, CONFIG_LARGE = 304, ENGINE_INDEX = 1301 };
    switch (name) {
    case HEURISTICS_RESULTS: /* descriptors, which the caller has made */
    case ENGINE_CONFIG:
    case PLAN_CONFIG: *count = 1; break;
    case PLAN_WORKSPACE:
    case CONFIG_SMALL:
    case CONFIG_LARGE:
    case ENGINE_INDEX:
        if (count) *count = 1;
        if (room > 0 && values && type == TYPE_INT32) *(int32_t *)values = 0;
        if (room > 0 && values && type != TYPE_INT32) *(int64_t *)values = 0;
        break;
    default:
        if (count) *count = 0; /* no notes: the engine is neither slow, nor inexact, nor in need of tensor cores */
    }
    return OK;
}

int cudnnGetReductionWorkspaceSize(void *h, void *reduction, void *from, void *to, size_t *size) {
    return *size = 0, OK;
}
int cudnnGetReductionIndicesSize(void *h, void *reduction, void *from, void *to, size_t *size) { return *size = 0, OK; }

/* Handles of both libraries. */
#define MAKES(function) int function(void **made) { return *made = calloc(1, 256), OK; }
MAKES(cudnnCreate)
MAKES(cudnnCreateTensorDescriptor)
MAKES(cudnnCreateFilterDescriptor)
MAKES(cudnnCreateReduceTensorDescriptor)
MAKES(cudnnCreateConvolutionDescriptor)
MAKES(cudnnCreatePoolingDescriptor)
MAKES(cudnnCreateActivationDescriptor)
MAKES(cudnnCreateDropoutDescriptor)
MAKES(cudnnCreateLRNDescriptor)
MAKES(cudnnCreateRNNDescriptor)
MAKES(cudnnCreateRNNDataDescriptor)
MAKES(cublasLtCreate)
MAKES(cublasLtMatmulDescCreate)
MAKES(cublasLtMatmulPreferenceCreate)
MAKES(cublasLtMatrixLayoutCreate)
MAKES(curandCreateGenerator)

/* It takes memory of the GPU, and says no more than this if there is none. */
int cublasCreate_v2(void **made) { return *made = calloc(1, 256), nullcuda_gpu_is_full ? NOT_INITIALIZED : OK; }

int cublasLtMatmulAlgoGetHeuristic(void *h, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, void *results, int *count) {
    return *count = 1, OK;
}
