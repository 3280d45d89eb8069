package dev.prefetch.prefetch;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** Flight-recorder event: compute waited for weights. */
@Name("dev.prefetch.Stall")
@Label("Weight Stall")
@Category("Prefetch")
@Description("Compute waited for a block of weights")
@StackTrace(false)
final class StallEvent extends Event {

    @Label("Block")
    String block = "";
}
