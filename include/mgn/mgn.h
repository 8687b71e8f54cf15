/* Everything. */
#ifndef MGN_MGN_H
#define MGN_MGN_H

#include <mgn/check.h>
#include <mgn/core.h>
#include <mgn/data.h>
#include <mgn/device.h>
#include <mgn/evaluate.h>
#include <mgn/experiment.h>
#include <mgn/graph.h>
#include <mgn/image.h>
#include <mgn/image_set.h>
#include <mgn/look.h>
#include <mgn/loss.h>
#include <mgn/mixture.h>
#include <mgn/model.h>
#include <mgn/optim.h>
#include <mgn/ot.h>
#include <mgn/recolor.h>
#include <mgn/semidiscrete.h>
#include <mgn/semidual.h>
#include <mgn/sinkhorn.h>
#include <mgn/target.h>
#include <mgn/train.h>

#endif
