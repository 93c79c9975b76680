"""The engines that run models; each is imported only when a model asks for it."""
