package dev.prefetch.cuda.simulator;

/** PTX with declarations only: what the simulated driver reads of a module. */
final class Ptx {

    private final StringBuilder text = new StringBuilder(".version 7.0\n.target sm_75\n.address_size 64\n");

    /** Declares a kernel by the types of its parameters, such as {@code ".u64"} or {@code ".align 4 .b8 [12]"}. */
    Ptx kernel(String name, String... types) {
        text.append(".visible .entry ").append(name).append("(\n");
        for (int i = 0; i < types.length; i++) {
            int bracket = types[i].indexOf('[');
            String type = bracket < 0 ? types[i] : types[i].substring(0, bracket);
            String length = bracket < 0 ? "" : types[i].substring(bracket);
            text.append("\t.param ")
                    .append(type)
                    .append(' ')
                    .append(name)
                    .append("_param_")
                    .append(i);
            text.append(length).append(i + 1 < types.length ? ",\n" : "\n");
        }
        text.append(")\n{\n\tret;\n}\n");
        return this;
    }

    @Override
    public String toString() {
        return text.toString();
    }

    static String correct() {
        return new Ptx()
                .kernel("matvec_q8_0", ".u64", ".u64", ".u64", ".u32", ".u32")
                .kernel("rms_norm", ".u64", ".u64", ".u64", ".u32", ".f32")
                .kernel("scale_and_add", ".u64", ".u64", ".align 4 .b8 [12]", ".u64")
                .kernel("histogram", ".u64", ".u32", ".u64")
                .kernel("multiply_16x16", ".u64", ".u64", ".u64", ".u32")
                .kernel("negate", ".u64", ".u32")
                .kernel("to_half_and_back", ".u64", ".u32")
                .toString();
    }
}
