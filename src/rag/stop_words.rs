//! Which words of a question say nothing about its subject?

/// Function words and question words of English, and the pieces that apostrophes leave behind.
/// Question words are rare in prose, so BM25 would take them for telling ones.
pub(super) const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "but", "by", "can", "could", "d", "did", "do", "does", "doing", "each", "for",
    "from", "had", "has", "have", "having", "he", "her", "hers", "him", "his", "how", "i", "if", "in",
    "into", "is", "it", "its", "itself", "ll", "m", "may", "me", "might", "must", "my", "no", "nor", "not",
    "of", "on", "or", "our", "please", "re", "s", "shall", "she", "should", "so", "some", "such", "t",
    "tell", "than", "that", "the", "their", "theirs", "them", "then", "there", "these", "they", "this",
    "those", "to", "too", "us", "ve", "very", "was", "we", "were", "what", "when", "where", "whether",
    "which", "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your",
];
