package dev.prefetch.sample.web;

import dev.prefetch.api.ContextLengthExceededException;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.springframework.http.HttpStatus;
import org.springframework.http.ProblemDetail;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;

/** Questions about documents: the passages nearest to a question are found by their vectors and shown to the model. */
@RestController
@RequestMapping("/api/documents")
class DocumentController {

    private static final int MOST_PASSAGES = 200;

    private final DocumentService documents;
    private final ChatProperties properties;

    DocumentController(DocumentService documents, ChatProperties properties) {
        this.documents = documents;
        this.properties = properties;
    }

    record Text(@Nullable String text) {}

    /**
     * @param passages how many passages the document has
     */
    record Added(UUID id, int passages) {}

    /** Takes a document: each line that is not empty is a passage. */
    @PostMapping
    @ResponseStatus(HttpStatus.CREATED)
    Added add(@RequestBody Text document) {
        List<String> passages = Arrays.stream(
                        required(document.text(), "document").split("\\R"))
                .map(String::strip)
                .filter(line -> !line.isEmpty())
                .distinct()
                .toList();
        if (passages.size() > MOST_PASSAGES) {
            throw new IllegalArgumentException(
                    "The document has " + passages.size() + " passages; at most " + MOST_PASSAGES + " are accepted.");
        }
        return new Added(documents.add(passages), passages.size());
    }

    /** Answers a question from a document. */
    @PostMapping("/{id}/questions")
    DocumentService.Answer ask(@PathVariable UUID id, @RequestBody Text question) {
        return documents.ask(id, required(question.text(), "question"));
    }

    private String required(@Nullable String text, String what) {
        if (text == null || text.isBlank()) {
            throw new IllegalArgumentException("The " + what + " is empty.");
        }
        if (text.length() > properties.maxMessageCharacters()) {
            throw new IllegalArgumentException("The " + what + " has " + text.length() + " characters; at most "
                    + properties.maxMessageCharacters() + " are accepted.");
        }
        return text.strip();
    }

    @ExceptionHandler
    ProblemDetail refuse(IllegalArgumentException refusal) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.BAD_REQUEST, String.valueOf(refusal.getMessage()));
    }

    @ExceptionHandler
    ProblemDetail refuse(ContextLengthExceededException refusal) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.BAD_REQUEST, String.valueOf(refusal.getMessage()));
    }
}
