"""First configuration of a site: questions, answers, the file that is made of them, forms. Sans-IO."""
