package dev.prefetch.sample.web;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.sample.ObservedEngine;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.boot.test.context.TestConfiguration;

/** Puts an {@link ObservedEngine} around the application's engine. */
@TestConfiguration(proxyBeanMethods = false)
class EngineObservation implements BeanPostProcessor {

    @Override
    public Object postProcessAfterInitialization(Object bean, String beanName) {
        return bean instanceof PrefetchEngine engine ? new ObservedEngine(engine) : bean;
    }
}
