package dev.prefetch.sample.web;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.messages.UserMessage;

class BoundedChatMemoryRepositoryTest {

    private static final List<Message> MESSAGES = List.of(new UserMessage("Hello"));

    @Test
    void forgetsTheConversationThatWasUnusedForLongest() {
        BoundedChatMemoryRepository repository = new BoundedChatMemoryRepository(2);
        repository.saveAll("a", MESSAGES);
        repository.saveAll("b", MESSAGES);
        assertThat(repository.findByConversationId("a")).isEqualTo(MESSAGES);

        repository.saveAll("c", MESSAGES);

        assertThat(repository.findConversationIds()).containsExactlyInAnyOrder("a", "c");
        assertThat(repository.findByConversationId("b")).isEmpty();
    }

    @Test
    void replacesAndDeletes() {
        BoundedChatMemoryRepository repository = new BoundedChatMemoryRepository(2);
        repository.saveAll("a", MESSAGES);
        repository.saveAll("a", List.of());
        assertThat(repository.findByConversationId("a")).isEmpty();

        repository.saveAll("a", MESSAGES);
        repository.deleteByConversationId("a");
        assertThat(repository.findConversationIds()).isEmpty();
    }

    @Test
    void refusesToRememberNothing() {
        assertThatIllegalArgumentException().isThrownBy(() -> new BoundedChatMemoryRepository(0));
    }
}
