package dev.prefetch.spring.autoconfigure;

import java.util.Map;
import java.util.function.Predicate;
import org.springframework.ai.model.SpringAIModelProperties;
import org.springframework.boot.autoconfigure.condition.ConditionMessage;
import org.springframework.boot.autoconfigure.condition.ConditionOutcome;
import org.springframework.boot.autoconfigure.condition.SpringBootCondition;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.context.annotation.ConditionContext;
import org.springframework.core.env.Environment;
import org.springframework.core.type.AnnotatedTypeMetadata;

/** What of the starter an application wants, as its properties say. */
final class Selection {

    /** Value of {@code spring.ai.model.chat} and {@code spring.ai.model.embedding} that means this provider. */
    static final String PROVIDER = "prefetch";

    private Selection() {}

    /** Whether chat models are wanted: {@code spring.ai.model.chat} is unset or means this provider. */
    static boolean chat(Environment environment) {
        String selected = environment.getProperty(SpringAIModelProperties.CHAT_MODEL);
        return selected == null || selected.equalsIgnoreCase(PROVIDER);
    }

    /**
     * Whether embedding models are wanted: {@code spring.ai.model.embedding} means this provider, or is unset where chat
     * models are wanted.
     */
    static boolean embedding(Environment environment) {
        String selected = environment.getProperty(SpringAIModelProperties.EMBEDDING_MODEL);
        return selected == null ? chat(environment) : selected.equalsIgnoreCase(PROVIDER);
    }

    /** Whether there are models by name. */
    static boolean named(Environment environment) {
        return !Binder.get(environment)
                .bind(PrefetchProperties.PREFIX + ".models", Bindable.mapOf(String.class, Object.class))
                .orElse(Map.of())
                .isEmpty();
    }

    /** Whether there is, or should be, a model without a name. */
    static boolean root(Environment environment) {
        return environment.containsProperty(PrefetchProperties.PREFIX + ".model") || !named(environment);
    }

    /** A condition on the environment alone. */
    abstract static class EnvironmentCondition extends SpringBootCondition {

        private final String what;
        private final Predicate<Environment> wanted;

        EnvironmentCondition(String what, Predicate<Environment> wanted) {
            this.what = what;
            this.wanted = wanted;
        }

        @Override
        public ConditionOutcome getMatchOutcome(ConditionContext context, AnnotatedTypeMetadata metadata) {
            boolean matches = wanted.test(context.getEnvironment());
            return new ConditionOutcome(
                    matches,
                    ConditionMessage.forCondition("Prefetch").because(what + (matches ? " wanted" : " not wanted")));
        }
    }

    /** Any model is wanted. */
    static final class AnyWanted extends EnvironmentCondition {
        AnyWanted() {
            super("models are", environment -> chat(environment) || embedding(environment));
        }
    }

    /** A model without a name is wanted. */
    static final class RootWanted extends EnvironmentCondition {
        RootWanted() {
            super("a model without a name is", Selection::root);
        }
    }

    /** Models by name are wanted. */
    static final class NamedWanted extends EnvironmentCondition {
        NamedWanted() {
            super("models by name are", Selection::named);
        }
    }

    /** The chat model without a name is wanted. */
    static final class RootChatWanted extends EnvironmentCondition {
        RootChatWanted() {
            super("a chat model without a name is", environment -> chat(environment) && root(environment));
        }
    }

    /** The embedding model without a name is wanted. */
    static final class RootEmbeddingWanted extends EnvironmentCondition {
        RootEmbeddingWanted() {
            super("an embedding model without a name is", environment -> embedding(environment) && root(environment));
        }
    }
}
