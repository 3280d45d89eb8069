package dev.prefetch.sample.web;

import java.time.Duration;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * Settings of the chat.
 *
 * @param memoryMessages how many of a conversation's last messages the model is shown
 * @param maxConversations how many conversations are remembered; beyond that the one unused for longest is forgotten
 * @param maxMessageCharacters longest message accepted
 * @param heartbeat how often a stream sends a comment while there is no text, to notice that a client has gone
 */
@ConfigurationProperties("sample.chat")
record ChatProperties(
        @DefaultValue("10") int memoryMessages,
        @DefaultValue("1000") int maxConversations,
        @DefaultValue("100000") int maxMessageCharacters,
        @DefaultValue("500ms") Duration heartbeat) {}
