//! How a site's queries distinguish responses.

/// Which part of a query belongs to the cache key. What is left out must not change what the origin
/// answers: two requests that differ only there are given the same response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// All of it, byte for byte.
    #[default]
    Keep,
    /// Nothing of it.
    Ignore,
    /// All parameters, sorted by name. Those of one name keep their order.
    Sort,
    /// The parameters with these names, in their order.
    Only(Vec<String>),
    /// The parameters without these names, in their order.
    Except(Vec<String>),
}
