"""Every line that imports streamlit, apart from the pages themselves."""
