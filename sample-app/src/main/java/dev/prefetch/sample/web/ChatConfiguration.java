package dev.prefetch.sample.web;

import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.client.advisor.MessageChatMemoryAdvisor;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.memory.MessageWindowChatMemory;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

@Configuration(proxyBeanMethods = false)
class ChatConfiguration {

    @Bean
    ChatMemory chatMemory(ChatProperties properties) {
        return MessageWindowChatMemory.builder()
                .chatMemoryRepository(new BoundedChatMemoryRepository(properties.maxConversations()))
                .maxMessages(properties.memoryMessages())
                .build();
    }

    @Bean
    ChatClient chatClient(ChatClient.Builder builder, ChatMemory memory) {
        return builder.defaultAdvisors(MessageChatMemoryAdvisor.builder(memory).build())
                .build();
    }
}
