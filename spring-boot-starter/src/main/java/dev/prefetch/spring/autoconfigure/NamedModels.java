package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchEmbeddingModel;
import dev.prefetch.spring.PrefetchEngines;
import dev.prefetch.spring.autoconfigure.PrefetchProperties.Use;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.springframework.beans.factory.BeanRegistrar;
import org.springframework.beans.factory.BeanRegistry;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.core.env.Environment;

/**
 * Registers the beans of the models that have names: for {@code spring.ai.prefetch.models.big-one} the beans
 * {@code bigOneEngine} and, as far as it serves for that, {@code bigOneChatModel} and {@code bigOneEmbeddingModel}.
 *
 * <p>All but the primary one's are fallback beans, which are injected by type only where there is no other: so an application
 * with several models still has one that is meant where none is named.
 */
final class NamedModels implements BeanRegistrar {

    private static final Pattern NAME = Pattern.compile("[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*");

    /** Parts of the endpoint have these names. */
    private static final Set<String> TAKEN = Set.of(PrefetchEngines.DEFAULT_NAME, "plan", "trace");

    private static final String MODELS = PrefetchProperties.PREFIX + ".models";
    private static final String PRIMARY = PrefetchProperties.PREFIX + ".primary";

    @Override
    public void register(BeanRegistry registry, Environment environment) {
        PrefetchProperties properties =
                Binder.get(environment).bindOrCreate(PrefetchProperties.PREFIX, PrefetchProperties.class);
        properties.models().keySet().forEach(NamedModels::requireValid);
        boolean chat = Selection.chat(environment);
        boolean embedding = Selection.embedding(environment);
        String primary = Selection.root(environment) ? requireNone(properties.primary()) : primary(properties, chat);
        String primaryEmbedding = Selection.root(environment) ? null : primaryEmbedding(properties, primary);
        properties.models().forEach((name, model) -> {
            boolean fallback = !name.equals(primary);
            boolean chats = chat && model.serves().contains(Use.CHAT);
            boolean embeds = embedding && model.serves().contains(Use.EMBEDDING);
            if (!chats && !embeds) {
                return;
            }
            registry.registerBean(engineBean(name), PrefetchEngine.class, spec -> {
                markFallback(spec, fallback);
                spec.supplier(context -> context.bean(EngineFactory.class).open(EngineDefinition.named(name, model)));
            });
            if (chats) {
                registry.registerBean(chatModelBean(name), PrefetchChatModel.class, spec -> {
                    markFallback(spec, fallback);
                    spec.supplier(context -> context.bean(ModelFactory.class)
                            .chatModel(
                                    context.bean(engineBean(name), PrefetchEngine.class),
                                    EngineDefinition.named(name, model)));
                });
            }
            if (embeds) {
                registry.registerBean(embeddingModelBean(name), PrefetchEmbeddingModel.class, spec -> {
                    markFallback(spec, !name.equals(primaryEmbedding));
                    spec.supplier(context -> context.bean(ModelFactory.class)
                            .embeddingModel(
                                    context.bean(engineBean(name), PrefetchEngine.class),
                                    EngineDefinition.named(name, model)));
                });
            }
        });
    }

    private static void markFallback(BeanRegistry.Spec<?> spec, boolean fallback) {
        if (fallback) {
            spec.fallback();
        }
    }

    private static void requireValid(String name) {
        if (!NAME.matcher(name).matches() || TAKEN.contains(name)) {
            throw StartupFailure.of(
                    "'" + name + "' cannot be the name of a model (" + MODELS + "." + name + ").",
                    "Use letters, digits and dashes, with a letter first, and none of "
                            + TAKEN.stream().sorted().toList() + ".");
        }
    }

    private static @Nullable String requireNone(@Nullable String primary) {
        if (primary != null) {
            throw StartupFailure.of(
                    "The property " + PRIMARY + " is '" + primary + "', but " + PrefetchProperties.PREFIX
                            + ".model is set, and that model is the primary one.",
                    "Remove " + PRIMARY + ", or give the model of " + PrefetchProperties.PREFIX
                            + ".model a name, too.");
        }
        return null;
    }

    private static @Nullable String primary(PrefetchProperties properties, boolean chat) {
        Map<String, PrefetchProperties.Model> models = properties.models();
        List<String> candidates = models.keySet().stream()
                .filter(name -> !chat || models.get(name).serves().contains(Use.CHAT))
                .toList();
        String primary = properties.primary();
        if (primary != null) {
            if (!candidates.contains(primary)) {
                throw StartupFailure.of(
                        "The property " + PRIMARY + " is '" + primary + "', which is none of " + candidates + ".",
                        "Set " + PRIMARY + " to one of them.");
            }
            return primary;
        }
        if (chat && candidates.size() > 1) {
            throw StartupFailure.of(
                    "Several models serve chats, " + candidates + ", and none of them is the primary one.",
                    "Set " + PRIMARY + " to the one that is meant where a ChatModel is injected without a name.");
        }
        return candidates.isEmpty() ? null : candidates.getFirst();
    }

    /** The primary one if it embeds, else the only one that does; null where that leaves several. */
    private static @Nullable String primaryEmbedding(PrefetchProperties properties, @Nullable String primary) {
        List<String> embedding = properties.models().entrySet().stream()
                .filter(entry -> entry.getValue().serves().contains(Use.EMBEDDING))
                .map(Map.Entry::getKey)
                .toList();
        if (primary != null && embedding.contains(primary)) {
            return primary;
        }
        return embedding.size() == 1 ? embedding.getFirst() : null;
    }

    /** Name of the bean of an engine. */
    static String engineBean(String name) {
        return camelCase(name) + "Engine";
    }

    /** Name of the bean of a chat model. */
    static String chatModelBean(String name) {
        return camelCase(name) + "ChatModel";
    }

    /** Name of the bean of an embedding model. */
    static String embeddingModelBean(String name) {
        return camelCase(name) + "EmbeddingModel";
    }

    /** {@code big-one} as {@code bigOne}. */
    private static String camelCase(String name) {
        StringBuilder camel = new StringBuilder();
        for (String part : name.split("-")) {
            camel.append(
                            camel.isEmpty()
                                    ? part.substring(0, 1)
                                    : part.substring(0, 1).toUpperCase(Locale.ROOT))
                    .append(part.substring(1));
        }
        return camel.toString();
    }
}
