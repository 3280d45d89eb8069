package dev.prefetch.prefetch;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/** Flight-recorder event: one sweep over the model. */
@Name("dev.prefetch.Sweep")
@Label("Sweep")
@Category("Prefetch")
@Description("One pass over all blocks")
@StackTrace(false)
final class SweepEvent extends Event {

    @Label("Regime")
    String regime = "";

    @Label("Tokens")
    int tokens;

    @Label("Bytes From Disk")
    @DataAmount
    long diskBytes;

    @Label("Stall")
    @Timespan(Timespan.NANOSECONDS)
    long stallNanos;

    @Label("Link Busy")
    @Timespan(Timespan.NANOSECONDS)
    long linkBusyNanos;
}
