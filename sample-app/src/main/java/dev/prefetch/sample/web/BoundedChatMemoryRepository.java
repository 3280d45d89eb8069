package dev.prefetch.sample.web;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.springframework.ai.chat.memory.ChatMemoryRepository;
import org.springframework.ai.chat.messages.Message;

/**
 * Keeps the conversations that were used last. Anybody can start a conversation and nobody has to end one, so an
 * unbounded store would grow for ever. Thread-safe.
 */
final class BoundedChatMemoryRepository implements ChatMemoryRepository {

    private final Map<String, List<Message>> conversations;

    BoundedChatMemoryRepository(int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("capacity must be at least 1 but was " + capacity);
        }
        this.conversations = new LinkedHashMap<>(16, 0.75f, true) {
            private static final long serialVersionUID = 1L;

            @Override
            protected boolean removeEldestEntry(Map.Entry<String, List<Message>> eldest) {
                return size() > capacity;
            }
        };
    }

    @Override
    public synchronized List<String> findConversationIds() {
        return List.copyOf(conversations.keySet());
    }

    @Override
    public synchronized List<Message> findByConversationId(String conversationId) {
        return conversations.getOrDefault(conversationId, List.of());
    }

    @Override
    public synchronized void saveAll(String conversationId, List<Message> messages) {
        conversations.put(conversationId, List.copyOf(messages));
    }

    @Override
    public synchronized void deleteByConversationId(String conversationId) {
        conversations.remove(conversationId);
    }
}
