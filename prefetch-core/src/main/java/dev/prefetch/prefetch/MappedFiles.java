package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.model.WeightBlock;
import java.util.ArrayList;
import java.util.List;

/** The mapped files of a model as buffers of the device: where blocks lie that are read in place. */
final class MappedFiles {

    private final List<GgufPart> parts;
    private final List<DeviceBuffer> buffers = new ArrayList<>();

    private MappedFiles(List<GgufPart> parts) {
        this.parts = parts;
    }

    /** Wraps the files; the leases free the buffers. */
    static MappedFiles wrap(Device device, List<GgufPart> parts, OpenLeases leases) {
        if (parts.isEmpty()) {
            throw new IllegalArgumentException("the plan reads blocks in place, and the file is not mapped");
        }
        MappedFiles result = new MappedFiles(parts);
        for (GgufPart part : parts) {
            DeviceBuffer buffer = device.wrap(part.mapping());
            leases.owns(buffer::close);
            result.buffers.add(buffer);
        }
        return result;
    }

    StreamingLease.Placement placement(WeightBlock block) {
        return new StreamingLease.Placement() {

            @Override
            public DeviceBuffer buffer(int i) {
                return buffers.get(part(i));
            }

            @Override
            public long offset(int i) {
                return block.tensors().get(i).fileOffset() - parts.get(part(i)).start();
            }

            @Override
            public boolean packed(int i) {
                return false;
            }

            private int part(int i) {
                return GgufPart.indexAt(parts, block.tensors().get(i).fileOffset());
            }
        };
    }
}
