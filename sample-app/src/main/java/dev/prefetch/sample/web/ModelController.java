package dev.prefetch.sample.web;

import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.backend.Device.SlowPath;
import java.util.List;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** Says what answers. */
@RestController
class ModelController {

    private final PrefetchEngine engine;

    ModelController(PrefetchEngine engine) {
        this.engine = engine;
    }

    @GetMapping("/api/model")
    ModelInfo model() {
        return ModelInfo.of(engine.info());
    }

    /**
     * What the page shows of {@link EngineInfo}; not the path, which is the server's own business.
     */
    record ModelInfo(
            String name,
            String architecture,
            String quantization,
            long parameters,
            long fileBytes,
            int contextLength,
            String backend,
            String device,
            int threads,
            List<SlowPath> slowPaths) {

        static ModelInfo of(EngineInfo info) {
            return new ModelInfo(
                    info.modelName(),
                    info.architecture(),
                    info.quantization(),
                    info.parameters(),
                    info.fileBytes(),
                    info.contextLength(),
                    info.backend(),
                    info.device(),
                    info.threads(),
                    info.slowPaths());
        }
    }
}
