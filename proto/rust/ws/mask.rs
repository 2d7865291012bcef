//! Unmasking in place.

/// Applies a client's mask to `bytes`, which lie `offset` bytes behind the start of their payload.
///
/// Eight bytes at a time, in a shape that the compiler turns into the machine's widest vectors.
pub(super) fn unmask(bytes: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    #[test]
    fn every_length_and_offset_unmasks_like_the_formula_of_the_rfc() {
        let mask = [0x6d, 0xb6, 0xb2, 0x80];
        for len in 0..70 {
            for offset in 0..9 {
                let masked: Vec<u8> = (0..len).map(|i: u8| i.wrapping_mul(7)).collect();
                let expected: Vec<u8> = (masked.iter().enumerate())
                    .map(|(i, byte)| byte ^ mask[(i + offset) % 4])
                    .collect();
                let mut bytes = masked;
                unmask(&mut bytes, mask, offset);
                assert_eq!(bytes, expected, "{len} bytes at {offset}");
            }
        }
    }
}
