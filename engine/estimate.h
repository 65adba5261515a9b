/*
 * What a request will take before it begins: memory by part, and time where this machine was
 * measured. Shapes are exact (the networks are recorded and planned, not run); what a back end
 * needs beside them is not counted, so that the measured peak lies within some 10 % of it.
 */
#pragma once

#include "engine/request.h"

struct estimate {
    /* Bytes. Weights as packed for the device, and activations, of the text encoders, the U-Net and
     * the autoencoder's decoder. */
    uint64_t text_weights, unet_weights, vae_weights;
    uint64_t text_work, unet_work, vae_work;
    uint64_t peak;   /* the most at once, with the program itself on the CPU */
    uint64_t budget; /* what the device has left for it; 0 = not known */
    bool fits;       /* it does, or the budget is not known */
    /* What is done to make it fit, or for request.low_memory. */
    bool drop_text; /* text encoders are gone after the prompt was read */
    bool drop_unet; /* the U-Net is gone before the picture is decoded */
    int vae_strips; /* cells a strip of the decoder is high; 0 = whole */

    double step_flops, decode_flops; /* of one call of the U-Net, of one picture decoded */
    int calls;                       /* of the U-Net, for one picture */
    double seconds; /* of the whole job, loading left out; negative: not measured yet */

    uint64_t measured; /* after the job: the most that the back end held; 0 before */
    double took;       /* and how long it was at work */
};

/*
 * For a window: what this request will take on this machine. Opens the model's headers and
 * configuration (some 10 ms; not on a thread that draws) and no device: a GPU's is estimated as if
 * it fused what the CPU does. Fails with a sentence when the request or the model is at fault. Any
 * thread.
 */
bool estimate_request(char **folders, const struct request *request, struct estimate *estimate,
                      GError **error);

/* "2.3 GB of 8.0 GB memory, about 40 s": for a line beside the button, a log, the command line.
 * g_free(). Not translated: its parts are in the struct. */
char *estimate_text(const struct estimate *estimate);
