/* A JPEG from file to file without holding its pixels: one thread decodes bands of rows, another encodes them, with a few
 * bands between the two. Changing a band falls to whoever has time for it: to the decoder when there is no room for
 * another band, to the encoder when the band it needs has not been changed yet. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/parallel.h"
#include "image/codec.h"

enum { BANDS = 4, ROWS_PER_BAND = 64 };

typedef enum band_state { DECODED, TAKEN, CHANGED } band_state;

/* Where the pixels come from is a decoder or a picture in memory, whose bands count as decoded at once. Bands go round a ring; `made` counts those decoded, `used` those encoded. Whoever fails sets `status` and wakes the
 * other. */
typedef struct stream {
    mgn_decoder *decoder;         /* or NULL and */
    const unsigned char *picture; /* all pixels */
    mgn_encoder *encoder;
    mgn_image *header; /* size, layout and metadata; no pixels */
    mgn_band_function *change;
    void *contexts[2]; /* of the two threads; the second NULL: `change` is called from one at a time */
    unsigned char *bands[BANDS];
    band_state states[BANDS];
    size_t made, used, count;
    pthread_mutex_t changing;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    mgn_status status;
    char sentence[1024]; /* of the thread that failed: sentences belong to threads */
} stream;

static size_t rows_of(const stream *s, size_t band) {
    return MGN_MIN((size_t)ROWS_PER_BAND, s->header->height - band * ROWS_PER_BAND);
}

static void stop(stream *s, mgn_status status) {
    pthread_mutex_lock(&s->lock);
    if (s->status == MGN_OK) {
        s->status = status;
        snprintf(s->sentence, sizeof s->sentence, "%s", mgn_last_error());
    }
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

static mgn_status change_band(stream *s, size_t band, bool decoding) {
    const bool shared = !s->contexts[1];
    if (shared) pthread_mutex_lock(&s->changing);
    unsigned char *to = s->bands[band % BANDS];
    const unsigned char *from = s->picture ? s->picture + band * ROWS_PER_BAND * mgn_image_row_bytes(s->header) : to;
    mgn_status status = s->change(s->contexts[decoding && !shared], from, rows_of(s, band) * s->header->width, to);
    if (shared) pthread_mutex_unlock(&s->changing);
    return status;
}

static mgn_status decode_band(stream *s, size_t band) {
    if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    if (s->picture) return MGN_OK;
    MGN_TRY(s->decoder->rows(s->decoder, rows_of(s, band), s->bands[band % BANDS]));
    return band + 1 == s->count ? s->decoder->finish(s->decoder, s->header) : MGN_OK;
}

/* What the decoding thread does next, the lock being held: decode a band, or change the newest one that nobody has. */
typedef enum duty { DECODE, CHANGE, WAIT, LEAVE } duty;

static duty next_duty(stream *s, size_t *band) {
    if (s->status != MGN_OK) return LEAVE;
    *band = s->made;
    if (s->made < s->count && s->made - s->used < BANDS) return DECODE;
    while (*band > s->used)
        if (s->states[--*band % BANDS] == DECODED) {
            s->states[*band % BANDS] = TAKEN;
            return CHANGE;
        }
    return s->made == s->count ? LEAVE : WAIT;
}

static void *decode_bands(void *of) {
    stream *s = of;
    mgn_parallel_alone(true); /* the other thread is as busy */
    pthread_mutex_lock(&s->lock);
    for (;;) {
        size_t band;
        duty what = next_duty(s, &band);
        if (what == LEAVE) break;
        if (what == WAIT) {
            pthread_cond_wait(&s->moved, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        mgn_status status = what == DECODE ? decode_band(s, band) : change_band(s, band, true);
        if (status != MGN_OK) stop(s, status);
        pthread_mutex_lock(&s->lock);
        s->states[band % BANDS] = what == DECODE ? DECODED : CHANGED;
        if (what == DECODE) s->made++;
        pthread_cond_broadcast(&s->moved);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Waits for a band; whether it still has to be changed. False in `going` when the stream has failed. */
static bool take_band(stream *s, size_t band, bool *going) {
    pthread_mutex_lock(&s->lock);
    while (s->status == MGN_OK && (s->made <= band || s->states[band % BANDS] == TAKEN))
        pthread_cond_wait(&s->moved, &s->lock);
    *going = s->status == MGN_OK;
    bool unchanged = *going && s->states[band % BANDS] == DECODED;
    if (unchanged) s->states[band % BANDS] = TAKEN;
    pthread_mutex_unlock(&s->lock);
    return unchanged;
}

static void encode_bands(stream *s) {
    for (size_t i = 0; i < s->count; i++) {
        bool going;
        mgn_status status = take_band(s, i, &going) ? change_band(s, i, false) : MGN_OK;
        if (!going) return;
        if (status == MGN_OK) status = s->encoder->rows(s->encoder, rows_of(s, i), s->bands[i % BANDS]);
        if (status == MGN_OK && i + 1 == s->count) status = s->encoder->finish(s->encoder);
        if (status != MGN_OK) {
            stop(s, status);
            return;
        }
        pthread_mutex_lock(&s->lock);
        s->used++;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
}

static mgn_status run(stream *s) {
    s->count = (s->header->height + ROWS_PER_BAND - 1) / ROWS_PER_BAND;
    for (int i = 0; i < BANDS; i++) {
        s->bands[i] = mgn_alloc(ROWS_PER_BAND, mgn_image_row_bytes(s->header));
        if (!s->bands[i]) return MGN_ERR_MEMORY;
    }
    pthread_t decoding;
    if (pthread_create(&decoding, NULL, decode_bands, s) != 0)
        return mgn_fail(MGN_ERR_MEMORY, "no thread could be started");
    mgn_parallel_alone(true);
    encode_bands(s);
    mgn_parallel_alone(false);
    pthread_join(decoding, NULL);
    return s->status == MGN_OK ? MGN_OK : mgn_fail(s->status, "%s", s->sentence);
}

static mgn_status run_to(stream *s, const char *target, const mgn_image_write_options *options,
                         mgn_output_file **written) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_output_open(target, &output));
    mgn_status status = mgn_jpeg_encoder_open(s->header, output, target, options, &s->encoder);
    if (status == MGN_OK) status = run(s);
    if (s->encoder) s->encoder->close(s->encoder);
    for (int i = 0; i < BANDS; i++) mgn_free(s->bands[i]);
    if (status == MGN_OK)
        *written = output;
    else
        mgn_output_discard(output);
    return status;
}

/* Only what needs no second look at its pixels: 8-bit colour that becomes a JPEG. */
static bool can_stream(const mgn_image *header, const char *target) {
    mgn_image_format format;
    return header->channels == 3 && header->depth == 8 && mgn_image_format_of(target, &format) == MGN_OK &&
           format == MGN_IMAGE_JPEG && mgn_threads() > 1;
}

static mgn_status stream_bytes(stream *s, const unsigned char *bytes, size_t size, const char *source,
                               const char *target, const mgn_image_write_options *options, mgn_output_file **written) {
    s->header->metadata = mgn_metadata_create();
    if (!s->header->metadata) return MGN_ERR_MEMORY;
    if (size < 3 || memcmp(bytes, "\xff\xd8\xff", 3) != 0) return MGN_OK;
    MGN_TRY(mgn_jpeg_decoder_open(bytes, size, source, s->header, &s->decoder));
    if (!can_stream(s->header, target)) return MGN_OK;
    s->header->orientation = mgn_exif_orientation(s->header->metadata->exif.bytes, s->header->metadata->exif.size);
    return run_to(s, target, options, written);
}

static void set_up(stream *s, mgn_band_function *change, void *const contexts[2], mgn_image *header) {
    *s = (stream){.header = header, .change = change, .contexts = {contexts[0], contexts[1]}};
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->changing, NULL);
    pthread_cond_init(&s->moved, NULL);
}

static void tear_down(stream *s) {
    if (s->decoder) s->decoder->close(s->decoder);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->changing);
    pthread_mutex_destroy(&s->lock);
}

mgn_status mgn_image_stream(const char *source, const char *target, const mgn_image_write_options *given,
                            mgn_band_function *change, void *const contexts[2], size_t *width, size_t *height,
                            mgn_output_file **written) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    mgn_image_write_options options;
    mgn_image header = {.orientation = 1};
    stream s;
    *written = NULL;
    MGN_TRY(mgn_image_check_options(given, &options));
    MGN_TRY(mgn_file_read(source, MGN_IMAGE_MAX_FILE, &bytes, &size));
    set_up(&s, change, contexts, &header);
    mgn_status status = stream_bytes(&s, bytes, size, source, target, &options, written);
    tear_down(&s);
    *width = header.width;
    *height = header.height;
    mgn_metadata_destroy(header.metadata);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_image_stream_from(const mgn_image *source, const char *target, const mgn_image_write_options *given,
                                 mgn_band_function *change, void *const contexts[2], mgn_output_file **written) {
    mgn_image_write_options options;
    mgn_image header = *source;
    stream s;
    *written = NULL;
    MGN_TRY(mgn_image_check_options(given, &options));
    if (!can_stream(source, target)) return MGN_OK;
    set_up(&s, change, contexts, &header);
    s.picture = source->pixels;
    const mgn_status status = run_to(&s, target, &options, written);
    tear_down(&s);
    return status;
}
