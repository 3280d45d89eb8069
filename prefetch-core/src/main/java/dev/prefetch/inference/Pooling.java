package dev.prefetch.inference;

/** How the hidden states of a text become one vector (Reimers and Gurevych 2019, arXiv 1908.10084). */
public enum Pooling {
    /** The mean over all tokens. */
    MEAN,
    /** The first token's. */
    CLS,
    /** The last token's: the only one that has seen the whole text in a decoder. */
    LAST
}
