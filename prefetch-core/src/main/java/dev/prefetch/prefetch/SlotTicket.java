package dev.prefetch.prefetch;

/**
 * The right to act on a slot: valid only while the slot still carries this stamp.
 *
 * @param slot the slot's number
 * @param block index of the block it is filled with
 * @param generation how often the slot has been claimed, modulo 2^32
 */
record SlotTicket(int slot, int block, int generation) {}
