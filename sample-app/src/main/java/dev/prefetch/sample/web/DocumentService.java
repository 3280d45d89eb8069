package dev.prefetch.sample.web;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.client.ChatClientResponse;
import org.springframework.ai.document.Document;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.ai.rag.advisor.RetrievalAugmentationAdvisor;
import org.springframework.ai.rag.retrieval.search.VectorStoreDocumentRetriever;
import org.springframework.ai.vectorstore.SimpleVectorStore;
import org.springframework.stereotype.Service;

/** Documents in memory, each with the vectors of its passages; the ones used last are kept. Thread-safe. */
@Service
class DocumentService {

    private static final int KEPT = 50;
    private static final int PASSAGES_SHOWN = 3;

    private final ChatClient chat;
    private final EmbeddingModel embeddings;
    private final Map<UUID, SimpleVectorStore> stores = new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<UUID, SimpleVectorStore> eldest) {
            return size() > KEPT;
        }
    };

    DocumentService(ChatClient.Builder builder, EmbeddingModel embeddings) {
        this.chat = builder.build();
        this.embeddings = embeddings;
    }

    /**
     * @param text what the model says
     * @param sources the passages it was shown, nearest first
     */
    record Answer(String text, List<Source> sources) {}

    /**
     * @param score nearness to the question, at most 1
     */
    record Source(String text, double score) {}

    /** Takes a document and returns its identifier. */
    UUID add(List<String> passages) {
        SimpleVectorStore store = SimpleVectorStore.builder(embeddings).build();
        store.add(passages.stream().map(Document::new).toList());
        UUID id = UUID.randomUUID();
        synchronized (stores) {
            stores.put(id, store);
        }
        return id;
    }

    /**
     * Answers a question from the passages nearest to it.
     *
     * @throws IllegalArgumentException when there is no such document any more
     */
    Answer ask(UUID id, String question) {
        SimpleVectorStore store;
        synchronized (stores) {
            store = stores.get(id);
        }
        if (store == null) {
            throw new IllegalArgumentException("The document is not there any more: add it again.");
        }
        ChatClientResponse response = chat.prompt(question)
                .advisors(RetrievalAugmentationAdvisor.builder()
                        .documentRetriever(VectorStoreDocumentRetriever.builder()
                                .vectorStore(store)
                                .topK(PASSAGES_SHOWN)
                                .build())
                        .build())
                .call()
                .chatClientResponse();
        String text = response.chatResponse() == null || response.chatResponse().getResult() == null
                ? null
                : response.chatResponse().getResult().getOutput().getText();
        return new Answer(text == null ? "" : text, sources(response.context()));
    }

    private static List<Source> sources(Map<String, ?> context) {
        return context.get(RetrievalAugmentationAdvisor.DOCUMENT_CONTEXT) instanceof List<?> documents
                ? documents.stream()
                        .map(Document.class::cast)
                        .map(document -> new Source(
                                String.valueOf(document.getText()),
                                document.getScore() == null ? 0 : document.getScore()))
                        .toList()
                : List.of();
    }
}
