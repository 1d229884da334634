//! Chat aliases: from a line of chat to an action and its parameters.
