/* libnvcuvid as FFmpeg uses it: frames are grey, and each is a little lighter than the one before.
 *
 * The structures are the beginnings of those in NVIDIA's cuviddec.h.
 */
#include "counts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int codec, chroma;
    unsigned depth_minus_8, reserved[3];
    unsigned char supported, engines;
    unsigned short formats;
    unsigned max_width, max_height, max_macroblocks;
    unsigned short min_width, min_height;
} Caps;
typedef struct {
    unsigned long width, height, surfaces;
    int codec, chroma;
    unsigned long flags, depth_minus_8;
} Wanted;
typedef struct {
    unsigned long width, height, bytes;
    unsigned count;
} Decoder;

int cuvidGetDecoderCaps(Caps *caps) {
    caps->supported = 1;
    caps->engines = 7;
    caps->formats = 3; /* NV12 and P016 */
    caps->max_width = caps->max_height = 8192;
    caps->max_macroblocks = 1 << 18;
    caps->min_width = 48;
    caps->min_height = 16;
    return 0;
}
int cuvidCreateDecoder(Decoder **made, const Wanted *wanted) {
    COUNT(decoders);
    *made = calloc(1, sizeof **made);
    (*made)->width = wanted->width;
    (*made)->height = wanted->height;
    (*made)->bytes = wanted->depth_minus_8 ? 2 : 1;
    return 0;
}
int cuvidDestroyDecoder(Decoder *decoder) { return free(decoder), 0; }
int cuvidDecodePicture(Decoder *decoder, void *picture) { return COUNT(decoded), 0; }
int cuvidGetDecodeStatus(Decoder *decoder, int index, int *status) { return *status = 2, 0; } /* decoded */

int cuvidMapVideoFrame64(Decoder *decoder, int index, uint64_t *address, unsigned *pitch, void *how) {
    COUNT(mapped);
    *pitch = (decoder->width * decoder->bytes + 511) / 512 * 512;
    size_t luma = *pitch * decoder->height, chroma = luma / 2;
    unsigned char *frame = aligned_alloc(512, luma + (chroma + 511) / 512 * 512);
    if (!frame) return 2; /* out of memory */
    memset(frame, 16 + decoder->count++ * 8 % 200, luma);
    memset(frame + luma, 128, chroma);
    *address = (uint64_t)frame;
    return 0;
}
int cuvidUnmapVideoFrame64(Decoder *decoder, uint64_t address) { return free((void *)address), 0; }
